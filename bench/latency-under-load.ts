/**
 * Workload latency-under-load (W2): latency at 25, 50 and 75 % of the rate that W1 reaches, beside a floor that no design
 * on these engines can undercut.
 */
import { sleep } from '../shared/async/sleep.ts';
import { measurePublish } from './ceiling/publish-floor.ts';
import { measureRoundTrip } from './ceiling/round-trip.ts';
import { closeAll, connectAll, type Pair, pairUp } from './devices.ts';
import type { Options } from './options.ts';
import { drift, MAX_DRIFT, roundTo } from './report.ts';
import { type BenchSystem, type Profile, startBenchSystem } from './system.ts';
import { type Percentiles, Traffic, type TrafficResult, WARM_UP_SEC } from './traffic.ts';

const SHARES = [0.25, 0.5, 0.75];
const FLOOR_MESSAGES = 2_000;
/** Size of an entry of the log beside its payload. */
const ENTRY_OVERHEAD_BYTES = 600;

export interface Floor {
  publish: Percentiles;
  socket_queued: Percentiles;
  socket_delivered: Percentiles;
}
export interface LoadStep extends TrafficResult {
  share: number;
  offered: number;
  /** p50 divided by the p50 of the floor. */
  queued_ratio: number;
  delivered_ratio: number;
}
export interface LatencyRun {
  profile: Profile;
  durability: string;
  full_rate: number;
  floors: Floor[];
  drift: number;
  void: boolean;
  steps: LoadStep[];
  wrong: string[];
}

async function measureFloor({ nc, backlog }: BenchSystem, size: number): Promise<Floor> {
  const publish = await measurePublish(nc, backlog, size + ENTRY_OVERHEAD_BYTES, FLOOR_MESSAGES);
  const { queued, delivered } = await measureRoundTrip(size, FLOOR_MESSAGES);
  return { publish, socket_queued: queued, socket_delivered: delivered };
}

interface Measured {
  fullRate: number;
  steps: { share: number; offered: number; result: TrafficResult }[];
  wrong: string[];
}

/** Measures the full rate, unless `--rate` names it, and then each share of it. */
async function measureShares(
  options: Options,
  profile: Profile,
  system: BenchSystem,
  pairs: Pair[],
): Promise<Measured> {
  const { log, size, inflight, seconds } = options;
  const wrong: string[] = [];
  const measureUnder = async (start: (traffic: Traffic) => void): Promise<TrafficResult> => {
    const traffic = new Traffic(pairs, size);
    start(traffic);
    await sleep(WARM_UP_SEC * 1_000);
    const result = await traffic.measure(seconds);
    wrong.push(...(await traffic.finish()));
    await system.backlog.waitUntilEmpty();
    return result;
  };
  const fullRate = options.rate || (await measureUnder((traffic) => traffic.startClosed(inflight))).msgs_per_sec;
  log(`${profile}: 100 % is ${fullRate} msg/s`);
  const steps: Measured['steps'] = [];
  for (const share of SHARES) {
    const offered = Math.round(fullRate * share);
    const result = await measureUnder((traffic) => traffic.startOpen(offered));
    log(`${profile}, ${share * 100} %: delivered p50 ${result.delivered.p50} ms, p99 ${result.delivered.p99} ms`);
    steps.push({ share, offered, result });
  }
  return { fullRate, steps, wrong };
}

async function measureProfile(options: Options, profile: Profile): Promise<LatencyRun> {
  const system = await startBenchSystem({ profile, log: options.log, cpuProf: options.cpuProf });
  try {
    const floors = [await measureFloor(system, options.size)];
    const devices = await connectAll(await system.createAccounts(options.devices), system.edge);
    const durability = devices[0]!.welcome!.durability;
    const { fullRate, steps, wrong } = await measureShares(options, profile, system, await pairUp(devices));
    await closeAll(devices);
    floors.push(await measureFloor(system, options.size));
    const mean = (values: number[]): number => values.reduce((sum, value) => sum + value, 0) / values.length;
    const queuedFloors = floors.map((floor) => floor.publish.p50 + floor.socket_queued.p50);
    const deliveredFloors = floors.map((floor) => floor.publish.p50 + floor.socket_delivered.p50);
    const floorDrift = drift(queuedFloors);
    return {
      profile,
      durability,
      full_rate: fullRate,
      floors,
      drift: roundTo(floorDrift, 3),
      void: floorDrift > MAX_DRIFT,
      steps: steps.map(({ share, offered, result }) => ({
        ...result,
        share,
        offered,
        queued_ratio: roundTo(result.queued.p50 / mean(queuedFloors), 1),
        delivered_ratio: roundTo(result.delivered.p50 / mean(deliveredFloors), 1),
      })),
      wrong,
    };
  } finally {
    await system.close();
  }
}

export interface LatencyUnderLoadResult {
  bench: 'W2';
  devices: number;
  size_bytes: number;
  runs: LatencyRun[];
  void: boolean;
}

export async function measureLatencyUnderLoad(options: Options): Promise<LatencyUnderLoadResult> {
  const runs: LatencyRun[] = [];
  for (let round = 0; round < options.runs; round++)
    for (const profile of options.profiles) runs.push(await measureProfile(options, profile));
  const { devices, size } = options;
  return { bench: 'W2', devices, size_bytes: size, runs, void: runs.some((run) => run.void) };
}
