/**
 * W7: webhooks to 100 endpoints, then with 10 of them dead and 10 slow. Latency is from the event's own time, offered at
 * a fixed rate, to its arrival at a healthy endpoint; throughput is a backlog drained, against bare signed POSTs.
 */
import { type ChildProcess, fork } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { connectNats } from '../nats/connect.ts';
import { adminToken } from '../shared/auth/derived.ts';
import { uuid7 } from '../shared/ids.ts';
import { type Event, encodeEvents, event } from '../shared/pipeline/events.ts';
import { cpuPer, cpuTimes } from './cpu.ts';
import type { Options } from './options.ts';
import { median, table } from './report.ts';
import { type Profile, type System, startSystem } from './system.ts';

const ENDPOINTS = 100;
const DEAD = 10;
const SLOW = 10;
/** Events a second. */
const RATE = 200;
const DRIFT = 0.1;

interface Latency {
  delivered: number;
  p50: number;
  p99: number;
  max: number;
}
export interface W7Run {
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
export interface W7Result {
  bench: 'W7';
  endpoints: number;
  dead: number;
  slow: number;
  rate: number;
  ceilings: number[];
  runs: W7Run[];
  drift: number;
  void: boolean;
}

const start = (file: string, ...args: string[]): ChildProcess =>
  fork(fileURLToPath(new URL(`./ceiling/${file}`, import.meta.url)), args);
const heard = <T>(child: ChildProcess): Promise<T> => new Promise((resolve) => child.once('message', resolve));

class Receivers {
  readonly #child: ChildProcess;
  readonly port: number;
  private constructor(child: ChildProcess, port: number) {
    this.#child = child;
    this.port = port;
  }
  static async open(): Promise<Receivers> {
    const child = start('receiver.ts');
    const { port } = await heard<{ port: number }>(child);
    return new Receivers(child, port);
  }
  async count(): Promise<number> {
    this.#child.send('count');
    return (await heard<{ count: number }>(this.#child)).count;
  }
  async take(): Promise<number[]> {
    this.#child.send('take');
    return (await heard<{ ages: number[] }>(this.#child)).ages;
  }
  async until(n: number, timeoutMs: number): Promise<void> {
    for (const end = performance.now() + timeoutMs; (await this.count()) < n && performance.now() < end; )
      await new Promise((resolve) => setTimeout(resolve, 20));
  }
  close(): void {
    this.#child.disconnect();
  }
}

async function ceiling(port: number, seconds: number): Promise<number> {
  return (await heard<{ per_sec: number }>(start('poster.ts', String(port), String(seconds)))).per_sec;
}

/** Endpoints with a conversation each; returns their conversations, the healthy ones first. */
async function endpoints(system: System, port: number, bad: boolean): Promise<string[]> {
  const token = adminToken(system.tree.config);
  const path = (i: number): string => {
    if (!bad || i < ENDPOINTS - DEAD - SLOW) return `http://127.0.1.${i + 1}:${port}/ok`;
    if (i < ENDPOINTS - DEAD) return `http://127.0.1.${i + 1}:${port}/slow`;
    // Half of the dead refuse, half take the connection and say nothing.
    return i % 2 ? `http://127.0.1.${i + 1}:1/` : `http://127.0.1.${i + 1}:${port}/hang`;
  };
  return await Promise.all(
    Array.from({ length: ENDPOINTS }, async (_, i) => {
      const conversation_id = uuid7();
      const response = await fetch(`${system.api}/v1/webhooks/endpoints`, {
        method: 'POST',
        headers: { 'content-type': 'application/json', authorization: `Bearer ${token}` },
        body: JSON.stringify({ url: path(i), conversation_id }),
      });
      if (response.status !== 201) throw new Error(`endpoint: ${response.status} ${await response.text()}`);
      return conversation_id;
    }),
  );
}

function made(conversation_id: string, at: number): Event {
  const [message_id, sender_id, sender_device_id] = [uuid7(), uuid7(), uuid7()];
  const sent_at = new Date(at).toISOString();
  const data = { message_id, conversation_id, seq: 1, sender_id, sender_device_id, sent_at, attachments_count: 0 };
  return event('chat.message.created', at, message_id, data, conversation_id);
}

/** Of so many events, taken in turns, those for the first `some` endpoints. */
const share = (events: number, some: number): number =>
  Math.floor(events / ENDPOINTS) * some + Math.min(some, Math.ceil(events % ENDPOINTS));

type Tell = (events: Event[]) => Promise<void>;

/** Open loop: each event at its time, whatever became of those before. */
async function offer(tell: Tell, conversations: string[], rate: number, seconds: number): Promise<void> {
  const begun = Date.now();
  let next = 0;
  while (next < seconds * rate) {
    const due = Math.min(seconds * rate, Math.floor(((Date.now() - begun) / 1_000) * rate));
    const batch: Event[] = [];
    for (; next < due; next++)
      batch.push(made(conversations[next % conversations.length]!, begun + (next / rate) * 1_000));
    if (batch.length) void tell(batch);
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
}

function latency(ages: number[]): Latency {
  const sorted = ages.toSorted((a, b) => a - b);
  const at = (part: number): number =>
    Math.round(sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * part))] ?? 0);
  return { delivered: ages.length, p50: at(0.5), p99: at(0.99), max: at(1) };
}

async function run(
  options: Options,
  profile: Profile,
  receivers: Receivers,
): Promise<Omit<W7Run, 'ceiling' | 'ratio'>> {
  const system = await startSystem({ profile, say: options.say, env: { WEBHOOK_ALLOW_CIDRS: '127.0.0.0/8' } });
  const nc = await connectNats(system.tree.config, 'admin');
  const tell: Tell = async (events) =>
    void (await nc.request('events.bench', encodeEvents(events), { timeout: 30_000 }));
  const wrong: string[] = [];
  const rate = options.rate || RATE;
  try {
    const phase = async (conversations: string[], healthy: number): Promise<Latency> => {
      // Connections and plans are warm.
      await offer(tell, conversations, rate, 2);
      await receivers.until(share(2 * rate, healthy), 10_000);
      await receivers.take();
      await offer(tell, conversations, rate, options.seconds);
      const expected = share(options.seconds * rate, healthy);
      await receivers.until(expected, 20_000);
      const result = latency(await receivers.take());
      if (result.delivered !== expected) wrong.push(`${result.delivered} of ${expected} deliveries came`);
      return result;
    };
    const clean = await phase(await endpoints(system, receivers.port, false), ENDPOINTS);
    options.say(`${profile}: clean p99 ${clean.p99} ms`);
    const mixed = await endpoints(system, receivers.port, true);
    const healthy = mixed.slice(0, ENDPOINTS - DEAD - SLOW);
    const beside_bad = await phase(mixed, healthy.length);
    options.say(`${profile}: p99 beside ${DEAD} dead and ${SLOW} slow ones ${beside_bad.p99} ms`);

    const before = cpuTimes(system.processes);
    const begun = performance.now();
    const now = Date.now();
    for (let i = 0; i < options.backlog; i += 500)
      await tell(
        Array.from({ length: Math.min(500, options.backlog - i) }, (_, j) =>
          made(healthy[(i + j) % healthy.length]!, now),
        ),
      );
    await receivers.until(options.backlog, 120_000);
    const ms = performance.now() - begun;
    const drained = (await receivers.take()).length;
    if (drained !== options.backlog) wrong.push(`${drained} of ${options.backlog} deliveries came`);
    const cpu_us = cpuPer(before, cpuTimes(system.processes), options.backlog);
    const drained_per_sec = Math.round((drained / ms) * 1_000);
    options.say(`${profile}: ${drained_per_sec} deliveries/s`);
    const p99_ratio = Math.round((beside_bad.p99 / Math.max(1, clean.p99)) * 100) / 100;
    return { profile, clean, beside_bad, p99_ratio, drained_per_sec, cpu_us, wrong };
  } finally {
    await nc.close();
    await system.stop();
  }
}

export async function w7(options: Options): Promise<W7Result> {
  const receivers = await Receivers.open();
  try {
    const bare = async (): Promise<number> => {
      const rate = await ceiling(receivers.port, Math.min(options.seconds, 5));
      await receivers.take();
      options.say(`bare signed POSTs: ${rate}/s`);
      return rate;
    };
    const ceilings = [await bare()];
    const runs: W7Run[] = [];
    for (let round = 0; round < options.runs; round++) {
      const these: Omit<W7Run, 'ceiling' | 'ratio'>[] = [];
      for (const profile of options.profiles) these.push(await run(options, profile, receivers));
      ceilings.push(await bare());
      const near = (ceilings.at(-1)! + ceilings.at(-2)!) / 2;
      for (const one of these)
        runs.push({ ...one, ceiling: Math.round(near), ratio: Math.round((one.drained_per_sec / near) * 100) / 100 });
    }
    const drift = Math.max(...ceilings) / Math.min(...ceilings) - 1;
    return {
      bench: 'W7',
      endpoints: ENDPOINTS,
      dead: DEAD,
      slow: SLOW,
      rate: options.rate || RATE,
      ceilings,
      runs,
      drift: Math.round(drift * 1_000) / 1_000,
      void: drift > DRIFT,
    };
  } finally {
    receivers.close();
  }
}

export function showW7({ runs, ceilings }: W7Result): string {
  const rows = runs.map((one) => [
    one.profile,
    one.clean.p50,
    one.clean.p99,
    one.beside_bad.p50,
    one.beside_bad.p99,
    one.p99_ratio,
    one.drained_per_sec,
    one.ratio,
  ]);
  const head = ['', 'clean p50 ms', 'p99', 'beside bad p50', 'p99', 'p99 ratio', 'deliveries/s', 'of ceiling'];
  return `${table(head, rows)}\nbare signed POSTs: ${median(ceilings)}/s`;
}
