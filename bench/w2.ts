/** W2: latency under an open load of 25, 50 and 75 % of what W1 reaches, beside what cannot be undercut. */
import { publishFloor } from './ceiling/publish.ts';
import { roundTrip } from './ceiling/round-trip.ts';
import { closeAll, connectAll, pairUp } from './crowd.ts';
import type { Options } from './options.ts';
import { type Profile, type System, startSystem } from './system.ts';
import { type Percentiles, Traffic, type TrafficResult } from './traffic.ts';
import { DRIFT, WARM_SEC } from './w1.ts';

const SHARES = [0.25, 0.5, 0.75];
const FLOOR_MESSAGES = 2_000;
/** What a message carries beside its payload, in the log. */
const ABOUT_BYTES = 600;

export interface Floor {
  publish: Percentiles;
  socket_queued: Percentiles;
  socket_delivered: Percentiles;
}
export interface Step extends TrafficResult {
  share: number;
  offered: number;
  /** p50 by the floor's p50. */
  queued_ratio: number;
  delivered_ratio: number;
}
export interface W2Run {
  profile: Profile;
  durability: string;
  full_rate: number;
  floors: Floor[];
  drift: number;
  void: boolean;
  steps: Step[];
  wrong: string[];
}

async function floor({ nc, backlog }: System, size: number): Promise<Floor> {
  const publish = await publishFloor(nc, backlog, size + ABOUT_BYTES, FLOOR_MESSAGES);
  const { queued, delivered } = await roundTrip(size, FLOOR_MESSAGES);
  return { publish, socket_queued: queued, socket_delivered: delivered };
}

async function run(options: Options, profile: Profile): Promise<W2Run> {
  const { say, size, inflight, seconds } = options;
  const system = await startSystem({ profile, say, cpuProf: options.cpuProf });
  try {
    const floors = [await floor(system, size)];
    const devices = await connectAll(await system.accounts(options.devices), system.edge);
    const durability = devices[0]!.welcome!.durability;
    const pairs = await pairUp(devices);
    const wrong: string[] = [];
    const under = async (start: (traffic: Traffic) => void): Promise<TrafficResult> => {
      const traffic = new Traffic(pairs, size);
      start(traffic);
      await new Promise((resolve) => setTimeout(resolve, WARM_SEC * 1_000));
      const result = await traffic.measure(seconds);
      wrong.push(...(await traffic.finish()));
      await system.backlog.settled();
      return result;
    };
    const full_rate = options.rate || (await under((traffic) => traffic.closed(inflight))).msgs_per_sec;
    say(`${profile}: 100 % is ${full_rate} msg/s`);
    const results: { share: number; offered: number; result: TrafficResult }[] = [];
    for (const share of SHARES) {
      const offered = Math.round(full_rate * share);
      const result = await under((traffic) => traffic.open(offered));
      say(`${profile}, ${share * 100} %: delivered p50 ${result.delivered.p50} ms, p99 ${result.delivered.p99} ms`);
      results.push({ share, offered, result });
    }
    await closeAll(devices);
    floors.push(await floor(system, size));
    const mean = (of: (one: Floor) => number): number => floors.reduce((sum, one) => sum + of(one), 0) / floors.length;
    const queued = mean((one) => one.publish.p50 + one.socket_queued.p50);
    const delivered = mean((one) => one.publish.p50 + one.socket_delivered.p50);
    const whole = floors.map((one) => one.publish.p50 + one.socket_queued.p50);
    const drift = Math.max(...whole) / Math.min(...whole) - 1;
    const ratio = (p50: number, of: number): number => Math.round((p50 / of) * 10) / 10;
    return {
      profile,
      durability,
      full_rate,
      floors,
      drift: Math.round(drift * 1_000) / 1_000,
      void: drift > DRIFT,
      steps: results.map(({ share, offered, result }) => ({
        ...result,
        share,
        offered,
        queued_ratio: ratio(result.queued.p50, queued),
        delivered_ratio: ratio(result.delivered.p50, delivered),
      })),
      wrong,
    };
  } finally {
    await system.stop();
  }
}

export interface W2Result {
  bench: 'W2';
  devices: number;
  size_bytes: number;
  runs: W2Run[];
  void: boolean;
}

export async function w2(options: Options): Promise<W2Result> {
  const runs: W2Run[] = [];
  for (let i = 0; i < options.runs; i++) for (const profile of options.profiles) runs.push(await run(options, profile));
  const { devices, size } = options;
  return { bench: 'W2', devices, size_bytes: size, runs, void: runs.some((one) => one.void) };
}
