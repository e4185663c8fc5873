/**
 * How a durable stands, as the broker says when it is asked every few seconds: also while its worker is stuck, and also
 * by workers that stand by. `/ready` and the gauges come from here.
 */
import type { NatsConnection } from 'nats';
import type { Logger } from 'pino';
import type { Metrics } from '../shared/metrics.ts';
import { HEARTBEAT_MS } from './pull-requests.ts';

export interface ConsumerMonitorOptions {
  stage: string;
  partition: number;
  stream: string;
  consumer: { durable_name: string; filter_subject?: string };
  log: Logger;
  metrics: Metrics;
  /** The stream allows direct get, so that the age of the oldest entry can be asked. */
  direct?: boolean;
  /** How often the broker is asked, ms. */
  lookMs?: number;
  /** How long a batch may fail, or the position stand still with work to do, before `/ready` says no, ms. */
  stuckMs?: number;
}
interface Info {
  error?: { err_code: number; description: string };
  num_pending: number;
  num_ack_pending: number;
  ack_floor: { stream_seq: number };
  priority_groups?: { pinned_client_id?: string }[];
}

const NO_CONSUMER = 10014;
const NO_STREAM = 10059;

export class ConsumerMonitor {
  /** When the broker was heard last, ms since 1970. */
  heard = Date.now();
  /** The broker said last that nothing waits and nothing is unacknowledged. */
  idle = false;
  /** Since when the broker answers that JetStream does not serve this durable; undefined while it does. */
  refusesSince: number | undefined;
  readonly #nc: NatsConnection;
  readonly #o: ConsumerMonitorOptions;
  readonly #labels: { stage: string; partition: number };
  readonly #timer: NodeJS.Timeout;
  readonly #stuckMs: number;
  /** Asked by `ready` and the gauge. */
  readonly #verdict: () => true | string;
  #looking = false;
  #pinned = false;
  #floor = -1;
  /** Since when there is work and the position has not moved. */
  #standsSince: number | undefined;
  #oldestAt: number | undefined;

  constructor(nc: NatsConnection, options: ConsumerMonitorOptions, verdict: () => true | string) {
    this.#nc = nc;
    this.#o = options;
    this.#labels = { stage: options.stage, partition: options.partition };
    this.#stuckMs = options.stuckMs ?? 5_000;
    this.#verdict = verdict;
    this.#timer = setInterval(() => void this.#look(), options.lookMs ?? 2_000).unref();
    queueMicrotask(() => void this.#look());
  }

  close(): void {
    clearInterval(this.#timer);
  }

  /** `owner`: this process works the partition; `failing`: since when and why its work fails. */
  ready(owner: boolean, failing: { since: number; reason: string } | undefined): true | string {
    const { stage, partition, stream } = this.#o;
    const now = Date.now();
    const who = `${stage} ${partition}`;
    if (now - this.heard >= 4 * HEARTBEAT_MS)
      return `${who} has not heard from ${stream} for ${now - this.heard} ms: the broker does not answer`;
    if (failing && now - failing.since >= this.#stuckMs)
      return `${who} has been failing for ${now - failing.since} ms: ${failing.reason}`;
    // While another process has the partition, it is for that one to say so.
    if (this.#standsSince !== undefined && now - this.#standsSince >= this.#stuckMs && (owner || !this.#pinned))
      return `${who} has work and its position has not moved for ${now - this.#standsSince} ms`;
    return true;
  }

  finished(tookMs: number): void {
    this.#o.metrics.seconds.observe({ stage: this.#o.stage }, tookMs / 1_000);
    this.#o.metrics.lastBatch.set(this.#labels, Date.now() / 1_000);
  }

  async #look(): Promise<void> {
    const { metrics, stream, consumer } = this.#o;
    metrics.ready.set(this.#labels, this.#verdict() === true ? 1 : 0);
    if (this.#oldestAt !== undefined) metrics.oldest.set(this.#labels, (Date.now() - this.#oldestAt) / 1_000);
    if (this.#looking || this.#nc.isClosed()) return;
    this.#looking = true;
    try {
      const path = `$JS.API.CONSUMER.INFO.${stream}.${consumer.durable_name}`;
      const reply = await this.#nc.request(path, '', { timeout: 2 * HEARTBEAT_MS });
      await this.#take(reply.json<Info>());
    } catch (error) {
      this.idle = false;
      // A gauge that keeps its last value would say that all is well.
      metrics.lag.remove(this.#labels);
      const refused = (error as Error).name === 'NoRespondersError';
      this.refusesSince = refused ? (this.refusesSince ?? Date.now()) : undefined;
    } finally {
      this.#looking = false;
    }
  }

  async #take(info: Info): Promise<void> {
    const { metrics } = this.#o;
    if (info.error) {
      // A durable that is gone is made again by whoever pulls from it; everything else is JetStream that does not serve.
      const gone = [NO_CONSUMER, NO_STREAM].includes(info.error.err_code);
      this.refusesSince = gone ? undefined : (this.refusesSince ?? Date.now());
      metrics.lag.remove(this.#labels);
      return;
    }
    this.heard = Date.now();
    this.refusesSince = undefined;
    const lag = info.num_pending + info.num_ack_pending;
    const floor = info.ack_floor.stream_seq;
    this.idle = lag === 0;
    this.#pinned = Boolean(info.priority_groups?.[0]?.pinned_client_id);
    if (lag === 0) this.#standsSince = undefined;
    else if (this.#standsSince === undefined || floor !== this.#floor) this.#standsSince = Date.now();
    this.#floor = floor;
    metrics.lag.set(this.#labels, lag);
    this.#oldestAt = lag === 0 ? undefined : ((await this.#storedAfter(floor)) ?? this.#standsSince);
    metrics.oldest.set(this.#labels, this.#oldestAt === undefined ? 0 : (Date.now() - this.#oldestAt) / 1_000);
  }

  /** When the first entry after `seq` was stored, ms since 1970. */
  async #storedAfter(seq: number): Promise<number | undefined> {
    const { direct, stream, consumer } = this.#o;
    if (!direct) return undefined;
    const query = JSON.stringify({ seq: seq + 1, next_by_subj: consumer.filter_subject });
    const reply = await this.#nc
      .request(`$JS.API.DIRECT.GET.${stream}`, query, { timeout: 2 * HEARTBEAT_MS })
      .catch(() => undefined);
    const at = Date.parse(reply?.headers?.get('Nats-Time-Stamp') ?? '');
    return Number.isNaN(at) ? undefined : at;
  }
}

/** The first of those times that are known. */
export function earliest(...times: (number | undefined)[]): number | undefined {
  const known = times.filter((time) => time !== undefined);
  return known.length ? Math.min(...known) : undefined;
}
