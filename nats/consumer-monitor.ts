/**
 * Asks the broker every few seconds how far a durable has got: also while its worker is stuck, and also in workers that stand
 * by. `/ready` and the gauges come from here.
 */
import { JetStreamApiError } from '@nats-io/jetstream';
import type { NatsConnection } from 'nats';
import type { Logger } from 'pino';
import type { Metrics } from '../shared/metrics.ts';
import { isConsumerOrStreamNotFound } from './errors.ts';
import { jsApi, requestDirect, requestJetStream } from './js-api.ts';
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
  /** Time between two polls of the broker, ms. */
  pollMs?: number;
  /** Time that a batch may fail, or the position not move with work to do, before `/ready` says no, ms. */
  stuckMs?: number;
}
interface ConsumerInfo {
  num_pending: number;
  num_ack_pending: number;
  ack_floor: { stream_seq: number };
  priority_groups?: { pinned_client_id?: string }[];
}

const SILENT_MS = 4 * HEARTBEAT_MS;
const TIMEOUT_MS = 2 * HEARTBEAT_MS;

export class ConsumerMonitor {
  /** When the broker last answered for this durable, ms since 1970. */
  lastHeardAt = Date.now();
  /** By the broker's last answer nothing waits and nothing is unacknowledged. */
  isIdle = false;
  /** Since when the broker answers that JetStream does not serve this durable (ms since 1970); undefined while it does. */
  refusesSince: number | undefined;
  readonly #nc: NatsConnection;
  readonly #options: ConsumerMonitorOptions;
  readonly #labels: { stage: string; partition: number };
  readonly #timer: NodeJS.Timeout;
  readonly #stuckMs: number;
  /** Whether the worker is ready, for the gauge. */
  readonly #isReady: () => boolean;
  #isPolling = false;
  /** Some process has the pin. */
  #isPinned = false;
  #ackFloor = -1;
  /** Since when there is work and the position has not moved, ms since 1970. */
  #stalledSince: number | undefined;
  /** When the oldest unacknowledged entry was stored, ms since 1970. */
  #oldestAt: number | undefined;

  constructor(nc: NatsConnection, options: ConsumerMonitorOptions, isReady: () => boolean) {
    this.#nc = nc;
    this.#options = options;
    this.#labels = { stage: options.stage, partition: options.partition };
    this.#stuckMs = options.stuckMs ?? 5_000;
    this.#isReady = isReady;
    this.#timer = setInterval(() => void this.#poll(), options.pollMs ?? 2_000).unref();
    queueMicrotask(() => void this.#poll());
  }

  close(): void {
    clearInterval(this.#timer);
  }

  /**
   * `isOwner`: this process works the partition; `failing`: since when and why its work fails.
   * @returns true, or what is wrong
   */
  ready(isOwner: boolean, failing: { since: number; reason: string } | undefined): true | string {
    const { stage, partition, stream } = this.#options;
    const now = Date.now();
    const worker = `${stage} ${partition}`;
    if (now - this.lastHeardAt >= SILENT_MS)
      return `${worker} has not heard from ${stream} for ${now - this.lastHeardAt} ms: the broker does not answer`;
    if (failing && now - failing.since >= this.#stuckMs)
      return `${worker} has been failing for ${now - failing.since} ms: ${failing.reason}`;
    const stalledMs = this.#stalledSince === undefined ? 0 : now - this.#stalledSince;
    // While another process owns the partition, that process reports it.
    if (this.#stalledSince !== undefined && stalledMs >= this.#stuckMs && (isOwner || !this.#isPinned))
      return `${worker} has work and its position has not moved for ${stalledMs} ms`;
    return true;
  }

  /** Records a finished batch in the metrics. */
  recordBatch(tookMs: number): void {
    this.#options.metrics.seconds.observe({ stage: this.#options.stage }, tookMs / 1_000);
    this.#options.metrics.lastBatch.set(this.#labels, Date.now() / 1_000);
  }

  async #poll(): Promise<void> {
    const { metrics, stream, consumer } = this.#options;
    metrics.ready.set(this.#labels, this.#isReady() ? 1 : 0);
    if (this.#oldestAt !== undefined) metrics.oldest.set(this.#labels, (Date.now() - this.#oldestAt) / 1_000);
    if (this.#isPolling || this.#nc.isClosed()) return;
    this.#isPolling = true;
    try {
      const path = jsApi.consumerInfo(stream, consumer.durable_name);
      const info = await requestJetStream<ConsumerInfo>(this.#nc, path, '', { timeoutMs: TIMEOUT_MS });
      await this.#update(info);
    } catch (error) {
      this.#recordRefusal(error);
    } finally {
      this.#isPolling = false;
    }
  }

  #recordRefusal(error: unknown): void {
    // A gauge that kept its last value would say that all is well.
    this.#options.metrics.lag.remove(this.#labels);
    const isAnswer = error instanceof JetStreamApiError;
    if (!isAnswer) this.isIdle = false;
    // The worker that pulls from a durable creates it again when it is gone; any other answer means that JetStream does not serve.
    const refused = isAnswer ? !isConsumerOrStreamNotFound(error) : (error as Error).name === 'NoRespondersError';
    this.refusesSince = refused ? (this.refusesSince ?? Date.now()) : undefined;
  }

  async #update(info: ConsumerInfo): Promise<void> {
    const { metrics } = this.#options;
    this.lastHeardAt = Date.now();
    this.refusesSince = undefined;
    const lag = info.num_pending + info.num_ack_pending;
    const ackFloor = info.ack_floor.stream_seq;
    this.isIdle = lag === 0;
    this.#isPinned = Boolean(info.priority_groups?.[0]?.pinned_client_id);
    if (lag === 0) this.#stalledSince = undefined;
    else if (this.#stalledSince === undefined || ackFloor !== this.#ackFloor) this.#stalledSince = Date.now();
    this.#ackFloor = ackFloor;
    metrics.lag.set(this.#labels, lag);
    this.#oldestAt = lag === 0 ? undefined : ((await this.#storedAfter(ackFloor)) ?? this.#stalledSince);
    metrics.oldest.set(this.#labels, this.#oldestAt === undefined ? 0 : (Date.now() - this.#oldestAt) / 1_000);
  }

  /** When the first entry after `seq` was stored, ms since 1970; undefined where that is not known. */
  async #storedAfter(seq: number): Promise<number | undefined> {
    const { direct, stream, consumer } = this.#options;
    if (!direct) return undefined;
    const query = { seq: seq + 1, next_by_subj: consumer.filter_subject };
    const first = await requestDirect(this.#nc, jsApi.directGet(stream), query, TIMEOUT_MS).catch(() => undefined);
    const at = Date.parse(first?.headers?.get('Nats-Time-Stamp') ?? '');
    return Number.isNaN(at) ? undefined : at;
  }
}

/** Returns the first of those times that are known. */
export function earliest(...times: (number | undefined)[]): number | undefined {
  const known = times.filter((time) => time !== undefined);
  return known.length ? Math.min(...known) : undefined;
}
