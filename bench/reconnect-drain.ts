/** Workload reconnect-drain (W3): devices that were offline come back to a full inbox, while others go on talking. */
import { sleep } from '../shared/async/sleep.ts';
import type { Account } from './accounts.ts';
import { measureRawDrain } from './ceiling/raw-drain.ts';
import { closeAll, connectAll, createDevice, forEachConcurrently, type Pair, pairUp } from './devices.ts';
import type { Options } from './options.ts';
import { drift, MAX_DRIFT, median, roundTo } from './report.ts';
import { type BenchSystem, type Profile, startBenchSystem } from './system.ts';
import { Traffic, WARM_UP_SEC } from './traffic.ts';

/** Devices that fill the inboxes. */
const WRITERS = 50;
/** Messages in flight while the inboxes are filled. */
const FILL_INFLIGHT = 1_000;
const LIVE_DEVICES = 100;
/** Devices that come back at the same time. */
const CONCURRENT_RETURNS = 256;

export interface Drain {
  devices: number;
  items_each: number;
  /** Items a second, from the first connection until the server has the last acknowledgement. */
  items_per_sec: number;
  /** Raw consuming and acknowledging of the same items, before and after. */
  ceilings: number[];
  ratio: number;
  drift: number;
  /** From connecting to the first item, ms: the median and the slowest of the devices. */
  first_ms: { p50: number; max: number };
  /** p99 of delivery among the other devices, ms: before the drain and during it. */
  live_p99_ms: { before: number; meanwhile: number };
  wrong: string[];
}
export interface DrainRun {
  profile: Profile;
  durability: string;
  live_rate: number;
  one: Drain;
  many: Drain;
}

/** Connects each device once, so that it has a cursor from which it continues later. */
async function connectOnce(accounts: Account[], edge: string): Promise<void> {
  await closeAll(await connectAll(accounts, edge));
}

/** Sends `count` messages to each account and waits until they are in the inboxes. */
async function fillInboxes(system: BenchSystem, accounts: Account[], count: number, size: number): Promise<void> {
  const writers = await connectAll(await system.createAccounts(WRITERS), system.edge);
  const payload = 'x'.repeat(size);
  let next = 0;
  await forEachConcurrently(
    Array.from({ length: FILL_INFLIGHT }),
    async () => {
      for (let i = next++; i < accounts.length * count; i = next++) {
        const to = { user_id: accounts[i % accounts.length]!.user.id };
        await writers[Math.floor(i / accounts.length) % WRITERS]!.send({ to, payload });
      }
    },
    FILL_INFLIGHT,
  );
  await system.backlog.waitUntilEmpty();
  await closeAll(writers);
}

/** Connects one device and receives `count` items. Its close shows that the server has taken the last acknowledgement. */
async function drainDevice(
  account: Account,
  edge: string,
  count: number,
): Promise<{ firstMs: number; wrong: string[] }> {
  const device = createDevice(account, edge);
  const wrong: string[] = [];
  const lastSeqs = new Map<string, number>();
  let firstMs = 0;
  let received = 0;
  const startedAt = performance.now();
  const drained = new Promise<void>((resolve) => {
    device.on('message', ({ message: { conversation_id, seq } }) => {
      if (received === 0) firstMs = performance.now() - startedAt;
      const expected = (lastSeqs.get(conversation_id) ?? 0) + 1;
      if (seq !== expected && wrong.length < 3) wrong.push(`seq ${seq} came instead of ${expected}`);
      lastSeqs.set(conversation_id, seq);
      if (++received === count) resolve();
    });
    device.on('gap', () => void wrong.push('the server reported a gap'));
  });
  await device.connect();
  await drained;
  await device.close();
  if (received !== count) wrong.push(`${received} items came instead of ${count}`);
  return { firstMs, wrong };
}

/** Drains `count` devices with `itemsEach` items each, beside live traffic. */
async function measureDrain(
  system: BenchSystem,
  options: Options,
  livePairs: Pair[],
  count: number,
  itemsEach: number,
): Promise<Drain> {
  const { log, size, seconds, liveRate } = options;
  const accounts = await system.createAccounts(count);
  const users = accounts.map(({ user }) => user.id);
  await connectOnce(accounts, system.edge);
  await fillInboxes(system, accounts, itemsEach, size);
  const measureCeiling = (): Promise<number> =>
    measureRawDrain(system.nc, system.backlog, system.localSystem.config, users, itemsEach);
  const ceilings = [await measureCeiling()];
  const traffic = new Traffic(livePairs, size);
  traffic.startOpen(liveRate);
  await sleep(WARM_UP_SEC * 1_000);
  const before = await traffic.measure(seconds);

  const startedAt = performance.now();
  const firstMs: number[] = [];
  const wrong: string[] = [];
  const drainDevices = forEachConcurrently(
    accounts,
    async (account) => {
      const drained = await drainDevice(account, system.edge, itemsEach);
      firstMs.push(drained.firstMs);
      wrong.push(...drained.wrong.slice(0, 1));
    },
    CONCURRENT_RETURNS,
  );
  const meanwhile = await traffic.measure(drainDevices);
  const elapsedSec = (performance.now() - startedAt) / 1_000;
  wrong.push(...(await traffic.finish()));
  ceilings.push(await measureCeiling());
  const items_per_sec = Math.round((count * itemsEach) / elapsedSec);
  log(`${system.profile}: ${count} × ${itemsEach}: ${items_per_sec} items/s; raw ${ceilings.join(' and ')}`);
  return {
    devices: count,
    items_each: itemsEach,
    items_per_sec,
    ceilings,
    ratio: roundTo(items_per_sec / median(ceilings), 2),
    drift: roundTo(drift(ceilings), 3),
    first_ms: { p50: median(firstMs), max: Math.round(Math.max(...firstMs)) },
    live_p99_ms: { before: before.delivered.p99, meanwhile: meanwhile.delivered.p99 },
    wrong: wrong.slice(0, 5),
  };
}

async function measureProfile(options: Options, profile: Profile): Promise<DrainRun> {
  const { backlog, devices } = options;
  const env = { INBOX_QUOTA_ITEMS: String(2 * backlog) };
  const system = await startBenchSystem({ profile, log: options.log, env, cpuProf: options.cpuProf });
  try {
    const liveDevices = await connectAll(await system.createAccounts(LIVE_DEVICES), system.edge);
    const livePairs = await pairUp(liveDevices);
    const durability = liveDevices[0]!.welcome!.durability;
    const one = await measureDrain(system, options, livePairs, 1, backlog);
    const itemsEach = Math.max(1, Math.floor(backlog / devices));
    const many = await measureDrain(system, options, livePairs, devices, itemsEach);
    await closeAll(liveDevices);
    return { profile, durability, live_rate: options.liveRate, one, many };
  } finally {
    await system.close();
  }
}

export interface ReconnectDrainResult {
  bench: 'W3';
  size_bytes: number;
  runs: DrainRun[];
  void: boolean;
}

export async function measureReconnectDrain(options: Options): Promise<ReconnectDrainResult> {
  const runs: DrainRun[] = [];
  for (let round = 0; round < options.runs; round++)
    for (const profile of options.profiles) runs.push(await measureProfile(options, profile));
  const hasDrifted = runs.some(({ one, many }) => Math.max(one.drift, many.drift) > MAX_DRIFT);
  return { bench: 'W3', size_bytes: options.size, runs, void: hasDrifted };
}
