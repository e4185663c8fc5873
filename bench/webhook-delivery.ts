/**
 * Workload webhook-delivery (W7): events for 100 endpoints, first with all of them healthy, then with 10 dead and 10 slow
 * ones. Latency is from the event's own time, at a fixed rate, to its arrival at a healthy endpoint. Throughput is the rate
 * at which a backlog is delivered, against bare signed POSTs.
 */
import type { NatsConnection } from 'nats';
import { connectNats } from '../nats/connect.ts';
import { sleep } from '../shared/async/sleep.ts';
import { uuid7 } from '../shared/ids.ts';
import { type Event, encodeEvents, event } from '../shared/pipeline/events.ts';
import { cpuPerUnit, cpuTimes } from './cpu.ts';
import { forkModule, nextMessage } from './fork-module.ts';
import type { Options } from './options.ts';
import { drift, MAX_DRIFT, median, roundTo, table } from './report.ts';
import { type BenchSystem, type Profile, startBenchSystem } from './system.ts';
import { DEAD_ENDPOINTS, ENDPOINTS, registerEndpoints, SLOW_ENDPOINTS, WebhookReceiver } from './webhook-endpoints.ts';

const DEFAULT_EVENTS_PER_SEC = 200;
const WARM_UP_SEC = 2;
/** Events of one publish while a backlog is made. */
const BACKLOG_BATCH = 500;
/** Interval at which due events are published at a fixed rate. */
const STEP_MS = 2;
/** Longest measurement of bare POSTs. */
const CEILING_SEC = 5;

interface Latency {
  delivered: number;
  p50: number;
  p99: number;
  max: number;
}
export interface WebhookRun {
  profile: Profile;
  clean: Latency;
  beside_bad: Latency;
  p99_ratio: number;
  drained_per_sec: number;
  ceiling: number;
  ratio: number;
  cpu_us: Record<string, number>;
  wrong: string[];
}
type RunWithoutCeiling = Omit<WebhookRun, 'ceiling' | 'ratio'>;
export interface WebhookDeliveryResult {
  bench: 'W7';
  endpoints: number;
  dead: number;
  slow: number;
  rate: number;
  ceilings: number[];
  runs: WebhookRun[];
  drift: number;
  void: boolean;
}

function createEvent(conversation_id: string, at: number): Event {
  const [message_id, sender_id, sender_device_id] = [uuid7(), uuid7(), uuid7()];
  const sent_at = new Date(at).toISOString();
  const data = { message_id, conversation_id, seq: 1, sender_id, sender_device_id, sent_at, attachments_count: 0 };
  return event('chat.message.created', at, message_id, data, conversation_id);
}

/** Returns how many of `events`, which go to all endpoints in turns, are for the first `some` endpoints. */
const shareOf = (events: number, some: number): number =>
  Math.floor(events / ENDPOINTS) * some + Math.min(some, Math.ceil(events % ENDPOINTS));

async function publishEvents(nc: NatsConnection, events: Event[]): Promise<void> {
  await nc.request('events.bench', encodeEvents(events), { timeout: 30_000 });
}

/** Publishes each event at its time, whether or not earlier ones were stored (an open load). */
async function offerEvents(nc: NatsConnection, conversations: string[], rate: number, seconds: number): Promise<void> {
  const startedAt = Date.now();
  let next = 0;
  while (next < seconds * rate) {
    const due = Math.min(seconds * rate, Math.floor(((Date.now() - startedAt) / 1_000) * rate));
    const batch: Event[] = [];
    for (; next < due; next++)
      batch.push(createEvent(conversations[next % conversations.length]!, startedAt + (next / rate) * 1_000));
    if (batch.length) void publishEvents(nc, batch);
    await sleep(STEP_MS);
  }
}

function latencyOf(ages: number[]): Latency {
  const sorted = ages.toSorted((a, b) => a - b);
  const at = (share: number): number =>
    Math.round(sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? 0);
  return { delivered: ages.length, p50: at(0.5), p99: at(0.99), max: at(1) };
}

/** Measures one profile of the system, on one started system. */
class ProfileRun {
  readonly wrong: string[] = [];
  readonly #options: Options;
  readonly #receiver: WebhookReceiver;
  readonly #system: BenchSystem;
  readonly #nc: NatsConnection;

  constructor(options: Options, receiver: WebhookReceiver, system: BenchSystem, nc: NatsConnection) {
    this.#options = options;
    this.#receiver = receiver;
    this.#system = system;
    this.#nc = nc;
  }

  async measure(profile: Profile): Promise<RunWithoutCeiling> {
    const { log } = this.#options;
    const { port } = this.#receiver;
    const clean = await this.#measureLatency(await registerEndpoints(this.#system, port, false), ENDPOINTS);
    log(`${profile}: p99 ${clean.p99} ms with all endpoints healthy`);
    const conversations = await registerEndpoints(this.#system, port, true);
    const healthy = conversations.slice(0, ENDPOINTS - DEAD_ENDPOINTS - SLOW_ENDPOINTS);
    const beside_bad = await this.#measureLatency(conversations, healthy.length);
    log(`${profile}: p99 ${beside_bad.p99} ms beside ${DEAD_ENDPOINTS} dead and ${SLOW_ENDPOINTS} slow endpoints`);
    const { drained_per_sec, cpu_us } = await this.#measureBacklog(healthy);
    log(`${profile}: ${drained_per_sec} deliveries/s`);
    const p99_ratio = roundTo(beside_bad.p99 / Math.max(1, clean.p99), 2);
    return { profile, clean, beside_bad, p99_ratio, drained_per_sec, cpu_us, wrong: this.wrong };
  }

  /** @param healthy number of healthy endpoints, which are the first */
  async #measureLatency(conversations: string[], healthy: number): Promise<Latency> {
    const rate = this.#options.rate || DEFAULT_EVENTS_PER_SEC;
    // The first events open connections and fill caches.
    await offerEvents(this.#nc, conversations, rate, WARM_UP_SEC);
    await this.#receiver.waitForCount(shareOf(WARM_UP_SEC * rate, healthy), 10_000);
    await this.#receiver.takeAges();
    await offerEvents(this.#nc, conversations, rate, this.#options.seconds);
    const expected = shareOf(this.#options.seconds * rate, healthy);
    await this.#receiver.waitForCount(expected, 20_000);
    const latency = latencyOf(await this.#receiver.takeAges());
    this.#expect(latency.delivered, expected);
    return latency;
  }

  async #measureBacklog(conversations: string[]): Promise<Pick<WebhookRun, 'drained_per_sec' | 'cpu_us'>> {
    const { backlog } = this.#options;
    const { processes } = this.#system;
    const before = cpuTimes(processes);
    const startedAt = performance.now();
    const now = Date.now();
    for (let first = 0; first < backlog; first += BACKLOG_BATCH) {
      const length = Math.min(BACKLOG_BATCH, backlog - first);
      const conversationOf = (i: number): string => conversations[(first + i) % conversations.length]!;
      await publishEvents(
        this.#nc,
        Array.from({ length }, (_, i) => createEvent(conversationOf(i), now)),
      );
    }
    await this.#receiver.waitForCount(backlog, 120_000);
    const elapsedMs = performance.now() - startedAt;
    const delivered = (await this.#receiver.takeAges()).length;
    this.#expect(delivered, backlog);
    const cpu_us = cpuPerUnit(before, cpuTimes(processes), backlog);
    return { drained_per_sec: Math.round((delivered / elapsedMs) * 1_000), cpu_us };
  }

  #expect(delivered: number, expected: number): void {
    if (delivered !== expected) this.wrong.push(`${delivered} of ${expected} deliveries came`);
  }
}

async function measureProfile(
  options: Options,
  profile: Profile,
  receiver: WebhookReceiver,
): Promise<RunWithoutCeiling> {
  const env = { WEBHOOK_ALLOW_CIDRS: '127.0.0.0/8' };
  const system = await startBenchSystem({ profile, log: options.log, env });
  const nc = await connectNats(system.localSystem.config, 'admin');
  try {
    return await new ProfileRun(options, receiver, system, nc).measure(profile);
  } finally {
    await nc.close();
    await system.close();
  }
}

/** Measures bare signed POSTs to the same receiver. @returns POSTs a second */
async function measureCeiling({ seconds, log }: Options, receiver: WebhookReceiver): Promise<number> {
  const poster = forkModule('./ceiling/signed-posts.ts', String(receiver.port), String(Math.min(seconds, CEILING_SEC)));
  const { per_sec } = await nextMessage<{ per_sec: number }>(poster);
  await receiver.takeAges();
  log(`bare signed POSTs: ${per_sec}/s`);
  return per_sec;
}

/** Measures the profiles in turns, with the ceiling before and after each round. */
export async function measureWebhookDelivery(options: Options): Promise<WebhookDeliveryResult> {
  const receiver = await WebhookReceiver.open();
  try {
    const ceilings = [await measureCeiling(options, receiver)];
    const runs: WebhookRun[] = [];
    for (let round = 0; round < options.runs; round++) {
      const roundRuns: RunWithoutCeiling[] = [];
      for (const profile of options.profiles) roundRuns.push(await measureProfile(options, profile, receiver));
      ceilings.push(await measureCeiling(options, receiver));
      const ceiling = (ceilings.at(-1)! + ceilings.at(-2)!) / 2;
      for (const run of roundRuns)
        runs.push({ ...run, ceiling: Math.round(ceiling), ratio: roundTo(run.drained_per_sec / ceiling, 2) });
    }
    const ceilingDrift = drift(ceilings);
    return {
      bench: 'W7',
      endpoints: ENDPOINTS,
      dead: DEAD_ENDPOINTS,
      slow: SLOW_ENDPOINTS,
      rate: options.rate || DEFAULT_EVENTS_PER_SEC,
      ceilings,
      runs,
      drift: roundTo(ceilingDrift, 3),
      void: ceilingDrift > MAX_DRIFT,
    };
  } finally {
    receiver.close();
  }
}

export function formatWebhookDelivery({ runs, ceilings }: WebhookDeliveryResult): string {
  const rows = runs.map((run) => [
    run.profile,
    run.clean.p50,
    run.clean.p99,
    run.beside_bad.p50,
    run.beside_bad.p99,
    run.p99_ratio,
    run.drained_per_sec,
    run.ratio,
  ]);
  const head = ['', 'healthy p50 ms', 'p99', 'beside bad p50', 'p99', 'p99 ratio', 'deliveries/s', 'of ceiling'];
  return `${table(head, rows)}\nbare signed POSTs: ${median(ceilings)}/s`;
}
