/** Workload direct-throughput (W1): messages a second from device to device, against a bare relay of the same frames. */
import { sleep } from '../shared/async/sleep.ts';
import { createRelayAccounts } from './accounts.ts';
import { startRelay } from './ceiling/start-relay.ts';
import { cpuPerUnit, cpuTimes, type Processes } from './cpu.ts';
import { closeAll, connectAll, pairUp } from './devices.ts';
import type { Options } from './options.ts';
import { drift, MAX_DRIFT, median, range, roundTo } from './report.ts';
import { type Profile, startBenchSystem } from './system.ts';
import { Traffic, type TrafficResult, WARM_UP_SEC } from './traffic.ts';

interface Load {
  size: number;
  inflight: number;
  /** Messages a second; 0 keeps `inflight` messages in flight instead. */
  rate: number;
}
export interface Run extends TrafficResult {
  cpu_us: Record<string, number>;
}
export interface SystemRun extends Run {
  profile: Profile;
  /** As the edge names it in its welcome. */
  durability: string;
  ceiling: number;
  ratio: number;
  sustained: boolean;
  /** From the last delivery until history held everything, ms. */
  history_behind_ms: number;
  wrong: string[];
}
type RunWithoutCeiling = Omit<SystemRun, 'ceiling' | 'ratio'>;

/** A rate with a higher p99 is not sustained. */
const SUSTAINED_P99_MS = 100;
/** A rate at which history is further behind is not sustained. */
const SUSTAINED_BEHIND_MS = 1_000;
/** Longest measurement of the bare relay. */
const CEILING_SEC = 8;

function startTraffic(traffic: Traffic, { inflight, rate }: Load): void {
  if (rate) traffic.startOpen(rate);
  else traffic.startClosed(inflight);
}

/** Measures traffic that has just been started, after the warm-up, with the CPU time of each message. */
async function measureRun(traffic: Traffic, processes: Processes, seconds: number): Promise<Run> {
  await sleep(WARM_UP_SEC * 1_000);
  const before = cpuTimes(processes);
  const result = await traffic.measure(seconds);
  return { ...result, cpu_us: cpuPerUnit(before, cpuTimes(processes), result.messages) };
}

/** Puts the bare relay under the same load: the most that this machine could do with this client. */
async function measureCeiling(options: Options, load: Load): Promise<Run> {
  const relay = await startRelay();
  try {
    const devices = await connectAll(createRelayAccounts(options.devices), relay.edge);
    const traffic = new Traffic(await pairUp(devices), load.size);
    startTraffic(traffic, load);
    const run = await measureRun(traffic, () => ({ relay: relay.pid }), Math.min(options.seconds, CEILING_SEC));
    const problems = await traffic.finish();
    if (problems.length) throw new Error(`the bare relay: ${problems.join('; ')}`);
    await closeAll(devices);
    options.log(`bare relay: ${run.msgs_per_sec} msg/s`);
    return run;
  } finally {
    await relay.close();
  }
}

async function measureSystem(options: Options, profile: Profile, load: Load): Promise<RunWithoutCeiling> {
  const system = await startBenchSystem({ profile, log: options.log, cpuProf: options.cpuProf });
  try {
    const devices = await connectAll(await system.createAccounts(options.devices), system.edge);
    const durability = devices[0]!.welcome!.durability;
    const traffic = new Traffic(await pairUp(devices), load.size);
    startTraffic(traffic, load);
    const run = await measureRun(traffic, system.processes, options.seconds);
    const wrong = await traffic.finish();
    const history_behind_ms = await system.backlog.waitUntilEmpty();
    const [{ stored }] = (await system.db.query<{ stored: number }>('select count(*) as stored from messages')) as [
      { stored: number },
    ];
    // Each pair has sent one message more, to start its conversation.
    const expected = traffic.sent - run.refused + devices.length / 2;
    if (stored !== expected) wrong.push(`history holds ${stored} messages instead of ${expected}`);
    await closeAll(devices);
    options.log(`${profile}: ${run.msgs_per_sec} msg/s, p99 ${run.delivered.p99} ms`);
    const sustained = run.delivered.p99 < SUSTAINED_P99_MS && history_behind_ms < SUSTAINED_BEHIND_MS;
    return { ...run, profile, durability, history_behind_ms, sustained, wrong };
  } finally {
    await system.close();
  }
}

interface ProfileSummary {
  msgs_per_sec: number;
  range: string;
  ratio: number;
  p99_ms: number;
}
function summarize(runs: SystemRun[], profile: Profile): ProfileSummary {
  const own = runs.filter((run) => run.profile === profile);
  return {
    msgs_per_sec: median(own.map((run) => run.msgs_per_sec)),
    range: range(own.map((run) => run.msgs_per_sec)),
    ratio: median(own.map((run) => run.ratio)),
    p99_ms: median(own.map((run) => run.delivered.p99)),
  };
}

export interface DirectThroughputResult {
  bench: 'W1';
  devices: number;
  size_bytes: number;
  inflight: number;
  rate: number;
  ceilings: Run[];
  runs: SystemRun[];
  drift: number;
  void: boolean;
  summary: Record<string, ProfileSummary>;
}

/** Measures the profiles in turns, with the ceiling before and after each round. */
export async function measureDirectThroughput(options: Options): Promise<DirectThroughputResult> {
  const { devices, size, inflight, rate } = options;
  const load: Load = { size, inflight, rate };
  const ceilings = [await measureCeiling(options, load)];
  const runs: SystemRun[] = [];
  for (let round = 0; round < options.runs; round++) {
    const roundRuns: RunWithoutCeiling[] = [];
    for (const profile of options.profiles) roundRuns.push(await measureSystem(options, profile, load));
    ceilings.push(await measureCeiling(options, load));
    const ceiling = (ceilings.at(-1)!.msgs_per_sec + ceilings.at(-2)!.msgs_per_sec) / 2;
    for (const run of roundRuns)
      runs.push({ ...run, ceiling: Math.round(ceiling), ratio: roundTo(run.msgs_per_sec / ceiling, 2) });
  }
  const ceilingDrift = drift(ceilings.map(({ msgs_per_sec }) => msgs_per_sec));
  return {
    bench: 'W1',
    devices,
    size_bytes: size,
    inflight: rate ? 0 : inflight,
    rate,
    ceilings,
    runs,
    drift: roundTo(ceilingDrift, 3),
    void: ceilingDrift > MAX_DRIFT,
    summary: Object.fromEntries(options.profiles.map((profile) => [profile, summarize(runs, profile)])),
  };
}
