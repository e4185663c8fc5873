/** W3: devices that were away come back to a full inbox, while others go on talking. */
import type { Device } from '../client/index.ts';
import { drainRaw } from './ceiling/drain.ts';
import { closeAll, connectAll, eachOf, makeDevice, type Pair, pairUp } from './crowd.ts';
import type { Options } from './options.ts';
import type { Account } from './people.ts';
import { median } from './report.ts';
import { type Profile, type System, startSystem } from './system.ts';
import { Traffic } from './traffic.ts';
import { DRIFT, WARM_SEC } from './w1.ts';

const WRITERS = 50;
const WINDOW = 1_000;
const LIVE_DEVICES = 100;
/** Devices that come back at the same moment. */
const STORM = 256;

export interface Drain {
  devices: number;
  items_each: number;
  /** Items a second, from the first connection until the server has taken the last acknowledgement. */
  items_per_sec: number;
  /** Raw consume and acknowledge of the same items, before and after. */
  ceilings: number[];
  ratio: number;
  drift: number;
  /** From connecting to the first item, ms: the median and the slowest of the devices. */
  first_ms: { p50: number; max: number };
  /** Delivery among others, ms: before and meanwhile. */
  live_p99_ms: { before: number; meanwhile: number };
  wrong: string[];
}
export interface W3Run {
  profile: Profile;
  durability: string;
  live_rate: number;
  one: Drain;
  many: Drain;
}

/** Makes sure that each has been here once, so that it has a place to come back to. */
async function visit(accounts: Account[], edge: string): Promise<void> {
  await closeAll(await connectAll(accounts, edge));
}

/** Sends `each` messages to everyone of them and waits until they lie in their inboxes. */
async function fill(system: System, accounts: Account[], each: number, size: number): Promise<void> {
  const writers = await connectAll(await system.accounts(WRITERS), system.edge);
  const payload = 'x'.repeat(size);
  let next = 0;
  await eachOf(
    Array.from({ length: WINDOW }),
    async () => {
      for (let i = next++; i < accounts.length * each; i = next++) {
        const to = { user_id: accounts[i % accounts.length]!.user.id };
        await writers[Math.floor(i / accounts.length) % WRITERS]!.send({ to, payload });
      }
    },
    WINDOW,
  );
  await system.backlog.settled();
  await closeAll(writers);
}

/** One device back: counts what comes until all is there, and leaves, which tells that its last ack was taken. */
async function comeBack(account: Account, edge: string, each: number): Promise<{ first_ms: number; wrong: string[] }> {
  const device: Device = makeDevice(account, edge);
  const wrong: string[] = [];
  const seqs = new Map<string, number>();
  let first = 0;
  let got = 0;
  const begun = performance.now();
  const all = new Promise<void>((resolve) => {
    device.on('message', ({ message: { conversation_id, seq } }) => {
      if (got === 0) first = performance.now() - begun;
      const expected = (seqs.get(conversation_id) ?? 0) + 1;
      if (seq !== expected && wrong.length < 3) wrong.push(`seq ${seq} where ${expected} was to come`);
      seqs.set(conversation_id, seq);
      if (++got === each) resolve();
    });
    device.on('gap', () => void wrong.push('a gap was told'));
  });
  await device.connect();
  await all;
  await device.close();
  if (got !== each) wrong.push(`${got} items instead of ${each}`);
  return { first_ms: first, wrong };
}

async function drain(system: System, options: Options, live: Pair[], count: number, each: number): Promise<Drain> {
  const { say, size, seconds, liveRate } = options;
  const accounts = await system.accounts(count);
  const users = accounts.map(({ user }) => user.id);
  await visit(accounts, system.edge);
  await fill(system, accounts, each, size);
  const raw = (): Promise<number> => drainRaw(system.nc, system.backlog, system.tree.config, users, each);
  const ceilings = [await raw()];
  const traffic = new Traffic(live, size);
  traffic.open(liveRate);
  await new Promise((resolve) => setTimeout(resolve, WARM_SEC * 1_000));
  const before = await traffic.measure(seconds);

  const begun = performance.now();
  const firsts: number[] = [];
  const wrong: string[] = [];
  const draining = eachOf(
    accounts,
    async (account) => {
      const back = await comeBack(account, system.edge, each);
      firsts.push(back.first_ms);
      wrong.push(...back.wrong.slice(0, 1));
    },
    STORM,
  );
  const meanwhile = await traffic.measure(draining);
  const took = (performance.now() - begun) / 1_000;
  wrong.push(...(await traffic.finish()));
  ceilings.push(await raw());
  const items_per_sec = Math.round((count * each) / took);
  say(`${system.profile}: ${count} × ${each}: ${items_per_sec} items/s; raw ${ceilings.join(' and ')}`);
  const drift = Math.max(...ceilings) / Math.min(...ceilings) - 1;
  return {
    devices: count,
    items_each: each,
    items_per_sec,
    ceilings,
    ratio: Math.round((items_per_sec / median(ceilings)) * 100) / 100,
    drift: Math.round(drift * 1_000) / 1_000,
    first_ms: { p50: median(firsts), max: Math.round(Math.max(...firsts)) },
    live_p99_ms: { before: before.delivered.p99, meanwhile: meanwhile.delivered.p99 },
    wrong: wrong.slice(0, 5),
  };
}

async function run(options: Options, profile: Profile): Promise<W3Run> {
  const { backlog, devices } = options;
  const env = { INBOX_QUOTA_ITEMS: String(2 * backlog) };
  const system = await startSystem({ profile, say: options.say, env, cpuProf: options.cpuProf });
  try {
    const talkers = await connectAll(await system.accounts(LIVE_DEVICES), system.edge);
    const live = await pairUp(talkers);
    const durability = talkers[0]!.welcome!.durability;
    const one = await drain(system, options, live, 1, backlog);
    const many = await drain(system, options, live, devices, Math.max(1, Math.floor(backlog / devices)));
    await closeAll(talkers);
    return { profile, durability, live_rate: options.liveRate, one, many };
  } finally {
    await system.stop();
  }
}

export interface W3Result {
  bench: 'W3';
  size_bytes: number;
  runs: W3Run[];
  void: boolean;
}

export async function w3(options: Options): Promise<W3Result> {
  const runs: W3Run[] = [];
  for (let i = 0; i < options.runs; i++) for (const profile of options.profiles) runs.push(await run(options, profile));
  const drifted = runs.some(({ one, many }) => Math.max(one.drift, many.drift) > DRIFT);
  return { bench: 'W3', size_bytes: options.size, runs, void: drifted };
}
