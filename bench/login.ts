/**
 * Workload login: the cost of a log-in, whether a flood of wrong log-ins slows delivery, and how soon a log-out closes the
 * device's socket.
 */
import type { Device } from '../client/index.ts';
import { sleep } from '../shared/async/sleep.ts';
import type { Account } from './accounts.ts';
import { cpuPerUnit, cpuTimes } from './cpu.ts';
import { closeAll, connectAll, type Pair, pairUp } from './devices.ts';
import type { Options } from './options.ts';
import { cpuTable, median, roundTo, table } from './report.ts';
import { type BenchSystem, startBenchSystem } from './system.ts';
import { Traffic, type TrafficResult, WARM_UP_SEC } from './traffic.ts';

const DEFAULT_MSGS_PER_SEC = 500;
/** Wrong log-ins at once. */
const FLOOD = 100;
/** Log-ins and log-outs of each kind that are timed. */
const TIMED = 100;
/** The system's own limits would end the flood at once, so they are raised. */
const NO_LOCKS = {
  AUTH_LOCK_MAX_FAILURES: '1000000',
  AUTH_LOCK_MAX_FAILURES_IN_ALL: '1000000',
  DEVICES_MAX: '1000000',
};
const USERNAME = 'bench_person';
const UNKNOWN_USERNAME = 'nobody_at_all';
const PASSWORD = 'correct horse battery';
const WRONG_PASSWORD = 'wrong horse';

interface Durations {
  p50: number;
  p99: number;
}
type FloodedTraffic = TrafficResult & { wrong_logins_per_sec: number };
export interface LoginResult {
  bench: 'login';
  profile: string;
  offered_msgs_per_sec: number;
  /** One log-in after another, ms. */
  login_ms: Durations;
  /** A wrong password, and a person who does not exist: nobody must be able to tell the two apart. */
  wrong_ms: Durations;
  unknown_ms: Durations;
  /** CPU time of a log-in by process, µs. */
  login_cpu_us: Record<string, number>;
  /** Phases that take turns, each of `--seconds`. */
  quiet: TrafficResult[];
  flooded: FloodedTraffic[];
  /** Median p99 of delivery during the flood, divided by that of the quiet phases. */
  p99_ratio: number;
  /** From the request to log out until the socket is closed, one after another, ms. */
  revoked_ms: Durations;
  wrong: string[];
}

/** Sends requests to the API of one system without a session. */
class ApiClient {
  readonly #api: string;

  constructor(api: string) {
    this.#api = api;
  }

  /** @returns the HTTP status */
  async post(path: string, body: object, headers: Record<string, string> = {}): Promise<number> {
    const response = await fetch(`${this.#api}${path}`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', ...headers },
      body: JSON.stringify(body),
    });
    await response.arrayBuffer();
    return response.status;
  }

  logIn(identifier: string, password: string): Promise<number> {
    return this.post('/v1/auth/login', { identifier, password, device: { name: 'bench' } });
  }

  /** Times log-ins, one after another. @throws when one is not answered with `expectedStatus` */
  async timeLogIns(identifier: string, password: string, expectedStatus: number): Promise<Durations> {
    const durations: number[] = [];
    for (let i = 0; i < TIMED; i++) {
      const startedAt = performance.now();
      const status = await this.logIn(identifier, password);
      if (status !== expectedStatus) throw new Error(`a log-in of ${identifier} was answered with ${status}`);
      durations.push(performance.now() - startedAt);
    }
    return summarize(durations);
  }

  /** Logs out devices one after another and times how soon each socket is closed. */
  async timeLogOuts(accounts: Account[], devices: Device[]): Promise<Durations> {
    const durations: number[] = [];
    for (const [i, { access_token }] of accounts.slice(0, TIMED).entries()) {
      const closed = devices[i]!.next('close');
      const startedAt = performance.now();
      const status = await this.post('/v1/auth/logout', {}, { authorization: `Bearer ${access_token}` });
      if (status !== 200) throw new Error(`a log-out was answered with ${status}`);
      await closed;
      durations.push(performance.now() - startedAt);
    }
    return summarize(durations);
  }

  /** Logs in with a wrong password, FLOOD times at once and again and again, until it is closed. */
  startFlood(): { refused: number; close(): Promise<void> } {
    let isRunning = true;
    const runs = Array.from({ length: FLOOD }, async (_, i) => {
      const identifier = i % 2 ? USERNAME : UNKNOWN_USERNAME;
      while (isRunning) if ((await this.logIn(identifier, WRONG_PASSWORD)) === 401) flood.refused++;
    });
    const flood = {
      refused: 0,
      async close() {
        isRunning = false;
        await Promise.all(runs);
      },
    };
    return flood;
  }
}

/** Measures delivery for `--seconds`, with or without the flood. Adds what was lost or duplicated to `wrong`. */
async function measurePhase(
  { system, api, options, pairs }: { system: BenchSystem; api: ApiClient; options: Options; pairs: Pair[] },
  withFlood: boolean,
  wrong: string[],
): Promise<FloodedTraffic> {
  const traffic = new Traffic(pairs, options.size);
  traffic.startOpen(options.rate || DEFAULT_MSGS_PER_SEC);
  const flood = withFlood ? api.startFlood() : undefined;
  await sleep(WARM_UP_SEC * 1_000);
  if (flood) flood.refused = 0;
  const result = await traffic.measure(options.seconds);
  const wrong_logins_per_sec = roundTo((flood?.refused ?? 0) / result.seconds, 2);
  await flood?.close();
  wrong.push(...(await traffic.finish()));
  await system.backlog.waitUntilEmpty();
  const { p50, p99 } = result.delivered;
  options.log(`${withFlood ? `${FLOOD} wrong log-ins at once` : 'quiet'}: delivered p50 ${p50} ms, p99 ${p99} ms`);
  return { ...result, wrong_logins_per_sec };
}

export async function measureLogin(options: Options): Promise<LoginResult> {
  const { log, cpuProf } = options;
  const profile = options.profiles.at(-1)!;
  const system = await startBenchSystem({ profile, log, env: NO_LOCKS, cpuProf });
  try {
    const api = new ApiClient(system.api);
    await api.post('/v1/auth/register', { username: USERNAME, password: PASSWORD, device: { name: 'bench' } });
    const before = cpuTimes(system.processes);
    const login_ms = await api.timeLogIns(USERNAME, PASSWORD, 200);
    const login_cpu_us = cpuPerUnit(before, cpuTimes(system.processes), TIMED);
    const wrong_ms = await api.timeLogIns(USERNAME, WRONG_PASSWORD, 401);
    const unknown_ms = await api.timeLogIns(UNKNOWN_USERNAME, WRONG_PASSWORD, 401);
    log(`a log-in: p50 ${login_ms.p50} ms`);

    const accounts = await system.createAccounts(options.devices);
    const devices = await connectAll(accounts, system.edge);
    const setting = { system, api, options, pairs: await pairUp(devices) };
    const wrong: string[] = [];
    const quiet: TrafficResult[] = [];
    const flooded: FloodedTraffic[] = [];
    for (let round = 0; round < Math.max(2, options.runs); round++) {
      quiet.push(await measurePhase(setting, false, wrong));
      flooded.push(await measurePhase(setting, true, wrong));
    }
    const revoked_ms = await api.timeLogOuts(accounts, devices);
    await closeAll(devices);
    const p99 = (phases: TrafficResult[]): number => median(phases.map(({ delivered }) => delivered.p99));
    return {
      bench: 'login',
      profile,
      offered_msgs_per_sec: options.rate || DEFAULT_MSGS_PER_SEC,
      login_ms,
      wrong_ms,
      unknown_ms,
      login_cpu_us,
      quiet,
      flooded,
      p99_ratio: roundTo(p99(flooded) / p99(quiet), 2),
      revoked_ms,
      wrong,
    };
  } finally {
    await system.close();
  }
}

/** Returns the median and the greatest of about a hundred durations, which is their p99. */
const summarize = (durations: number[]): Durations => {
  const sorted = durations.sort((a, b) => a - b);
  return { p50: roundTo(sorted[Math.floor(sorted.length / 2)]!, 2), p99: roundTo(sorted.at(-1)!, 2) };
};

export function formatLogin(result: LoginResult): string {
  const { login_ms, wrong_ms, unknown_ms, login_cpu_us, quiet, flooded, revoked_ms } = result;
  const rowOf = (name: string, phase: TrafficResult, logins: number | string): (string | number)[] => [
    name,
    phase.msgs_per_sec,
    phase.delivered.p50,
    phase.delivered.p99,
    phase.queued.p99,
    logins,
  ];
  const format = ({ p50, p99 }: Durations): string => `p50 ${p50} ms, p99 ${p99} ms`;
  return [
    table(
      ['', 'msg/s', 'p50 ms', 'p99 ms', 'queued p99', 'wrong log-ins/s'],
      quiet.flatMap((phase, i) => [
        rowOf('quiet', phase, ''),
        rowOf('flood', flooded[i]!, flooded[i]!.wrong_logins_per_sec),
      ]),
    ),
    `\n${result.offered_msgs_per_sec} msg/s offered; the flood changes the p99 of delivery by a factor of ${result.p99_ratio}`,
    `a log-in: ${format(login_ms)}, one after another`,
    `a wrong password: ${format(wrong_ms)}; an unknown person: ${format(unknown_ms)}`,
    `a log-out: the socket is closed after ${format(revoked_ms)}`,
    cpuTable(login_cpu_us),
  ].join('\n');
}
