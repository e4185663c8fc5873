/** W1: how many messages a second from device to device, against a bare relay of the same frames in the same run. */
import { startRelay } from './ceiling/start-relay.ts';
import { cpuPer, cpuTimes } from './cpu.ts';
import { closeAll, connectAll, pairUp } from './crowd.ts';
import type { Options } from './options.ts';
import { inventAccounts } from './people.ts';
import { median, spread } from './report.ts';
import { type Profile, startSystem } from './system.ts';
import { Traffic, type TrafficResult } from './traffic.ts';

export interface Load {
  size: number;
  inflight: number;
  /** Messages a second; 0 keeps `inflight` on their way instead. */
  rate: number;
}
export interface Run extends TrafficResult {
  cpu_us: Record<string, number>;
}
export interface SystemRun extends Run {
  profile: Profile;
  /** As the edge said it in its welcome. */
  durability: string;
  ceiling: number;
  ratio: number;
  sustained: boolean;
  /** From the last delivery until history held everything, ms. */
  history_behind_ms: number;
  wrong: string[];
}

export const WARM_SEC = 3;
/** Above this the rate is not sustained. */
const P99_MS = 100;
const BEHIND_MS = 1_000;
export const DRIFT = 0.1;

/** The bare relay under the same load: the most that this machine could do with this client. */
export async function ceiling(options: Options, load: Load, seconds: number): Promise<Run> {
  const relay = await startRelay();
  try {
    const devices = await connectAll(inventAccounts(options.devices), relay.edge);
    const traffic = new Traffic(await pairUp(devices), load.size);
    begin(traffic, load);
    await new Promise((resolve) => setTimeout(resolve, WARM_SEC * 1_000));
    const processes = (): Record<string, number> => ({ relay: relay.pid });
    const before = cpuTimes(processes);
    const result = await traffic.measure(seconds);
    const cpu_us = cpuPer(before, cpuTimes(processes), result.messages);
    const wrong = await traffic.finish();
    if (wrong.length) throw new Error(`the bare relay: ${wrong.join('; ')}`);
    await closeAll(devices);
    return { ...result, cpu_us };
  } finally {
    await relay.stop();
  }
}

export function begin(traffic: Traffic, { inflight, rate }: Load): void {
  if (rate) traffic.open(rate);
  else traffic.closed(inflight);
}

async function system(options: Options, profile: Profile, load: Load): Promise<Omit<SystemRun, 'ceiling' | 'ratio'>> {
  const one = await startSystem({ profile, say: options.say, cpuProf: options.cpuProf });
  try {
    const devices = await connectAll(await one.accounts(options.devices), one.edge);
    const durability = devices[0]!.welcome!.durability;
    const traffic = new Traffic(await pairUp(devices), load.size);
    begin(traffic, load);
    await new Promise((resolve) => setTimeout(resolve, WARM_SEC * 1_000));
    const before = cpuTimes(one.processes);
    const result = await traffic.measure(options.seconds);
    const cpu_us = cpuPer(before, cpuTimes(one.processes), result.messages);
    const wrong = await traffic.finish();
    const history_behind_ms = await one.backlog.settled();
    const [{ held }] = (await one.db.query<{ held: number }>('select count(*) as held from messages')) as [
      { held: number },
    ];
    const expected = traffic.sent - result.refused + devices.length / 2;
    if (held !== expected) wrong.push(`history holds ${held} messages of ${expected}`);
    await closeAll(devices);
    const sustained = result.delivered.p99 < P99_MS && history_behind_ms < BEHIND_MS;
    return { ...result, cpu_us, profile, durability, history_behind_ms, sustained, wrong };
  } finally {
    await one.stop();
  }
}

export interface W1Result {
  bench: 'W1';
  devices: number;
  size_bytes: number;
  inflight: number;
  rate: number;
  ceilings: Run[];
  runs: SystemRun[];
  drift: number;
  void: boolean;
  summary: Record<string, { msgs_per_sec: number; range: string; ratio: number; p99_ms: number }>;
}

export async function w1(options: Options): Promise<W1Result> {
  const load: Load = { size: options.size, inflight: options.inflight, rate: options.rate };
  const floorSeconds = Math.min(options.seconds, 8);
  const ceilings = [await ceiling(options, load, floorSeconds)];
  options.say(`bare relay: ${ceilings[0]!.msgs_per_sec} msg/s`);
  const runs: SystemRun[] = [];
  for (let run = 0; run < options.runs; run++) {
    const round: Omit<SystemRun, 'ceiling' | 'ratio'>[] = [];
    for (const profile of options.profiles) {
      const result = await system(options, profile, load);
      options.say(`${profile}: ${result.msgs_per_sec} msg/s, p99 ${result.delivered.p99} ms`);
      round.push(result);
    }
    ceilings.push(await ceiling(options, load, floorSeconds));
    options.say(`bare relay: ${ceilings.at(-1)!.msgs_per_sec} msg/s`);
    const near = (ceilings.at(-1)!.msgs_per_sec + ceilings.at(-2)!.msgs_per_sec) / 2;
    for (const one of round)
      runs.push({ ...one, ceiling: Math.round(near), ratio: Math.round((one.msgs_per_sec / near) * 100) / 100 });
  }
  const rates = ceilings.map(({ msgs_per_sec }) => msgs_per_sec);
  const drift = Math.max(...rates) / Math.min(...rates) - 1;
  const summary = Object.fromEntries(
    options.profiles.map((profile) => {
      const of = runs.filter((run) => run.profile === profile);
      return [
        profile,
        {
          msgs_per_sec: median(of.map((run) => run.msgs_per_sec)),
          range: spread(of.map((run) => run.msgs_per_sec)),
          ratio: median(of.map((run) => run.ratio)),
          p99_ms: median(of.map((run) => run.delivered.p99)),
        },
      ];
    }),
  );
  const { devices, size, inflight, rate } = options;
  return {
    bench: 'W1',
    devices,
    size_bytes: size,
    inflight: rate ? 0 : inflight,
    rate,
    ceilings,
    runs,
    drift: Math.round(drift * 1_000) / 1_000,
    void: drift > DRIFT,
    summary,
  };
}
