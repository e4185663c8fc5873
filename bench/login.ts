/** login: what a log-in costs, whether a flood of wrong ones slows delivery, and how soon a log-out closes the socket. */
import { performance } from 'node:perf_hooks';
import { cpuPer, cpuTimes } from './cpu.ts';
import { closeAll, connectAll, pairUp } from './crowd.ts';
import type { Options } from './options.ts';
import { cpuTable, median, table } from './report.ts';
import { startSystem } from './system.ts';
import { Traffic, type TrafficResult } from './traffic.ts';
import { WARM_SEC } from './w1.ts';

const RATE = 500;
const FLOOD = 100;
const COUNTED = 100;
/** The system's own limits would end the flood, which is the point of them, but not of this. */
const UNLOCKED = {
  AUTH_LOCK_MAX_FAILURES: '1000000',
  AUTH_LOCK_MAX_FAILURES_IN_ALL: '1000000',
  DEVICES_MAX: '1000000',
};

interface Spread {
  p50: number;
  p99: number;
}
export interface LoginResult {
  bench: 'login';
  profile: string;
  offered_msgs_per_sec: number;
  /** One after another; ms, and CPU-µs per log-in and process. */
  login_ms: Spread;
  /** Nobody must be able to tell the two apart: a wrong password, and one of a person that nobody is. */
  wrong_ms: Spread;
  unknown_ms: Spread;
  login_cpu_us: Record<string, number>;
  /** Phases by turns, each of `seconds`. */
  quiet: TrafficResult[];
  flooded: (TrafficResult & { wrong_logins_per_sec: number })[];
  /** Median p99 of delivery under the flood by the quiet one. */
  p99_ratio: number;
  /** From asking for the log-out to the closed socket, one after another. */
  revoked_ms: Spread;
  wrong: string[];
}

export async function login(options: Options): Promise<LoginResult> {
  const { say, seconds, size } = options;
  const profile = options.profiles.at(-1)!;
  const system = await startSystem({ profile, say, env: UNLOCKED, cpuProf: options.cpuProf });
  const post = async (path: string, body: object, headers: Record<string, string> = {}): Promise<number> => {
    const response = await fetch(`${system.api}${path}`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', ...headers },
      body: JSON.stringify(body),
    });
    await response.arrayBuffer();
    return response.status;
  };
  try {
    const password = 'correct horse battery';
    const device = { name: 'bench' };
    await post('/v1/auth/register', { username: 'bench_person', password, device });
    const enter = (given: string, identifier = 'bench_person') =>
      post('/v1/auth/login', { identifier, password: given, device });

    const timed = async (expected: number, ...given: Parameters<typeof enter>): Promise<Spread> => {
      const took: number[] = [];
      for (let i = 0; i < COUNTED; i++) {
        const started = performance.now();
        const status = await enter(...given);
        if (status !== expected) throw new Error(`${given.join(' of ')} was answered ${status}`);
        took.push(performance.now() - started);
      }
      return spread(took);
    };
    const before = cpuTimes(system.processes);
    const login_ms = await timed(200, password);
    const login_cpu_us = cpuPer(before, cpuTimes(system.processes), COUNTED);
    const wrong_ms = await timed(401, 'wrong horse');
    const unknown_ms = await timed(401, 'wrong horse', 'nobody_at_all');
    say(`a log-in: p50 ${login_ms.p50} ms`);

    const accounts = await system.accounts(options.devices);
    const devices = await connectAll(accounts, system.edge);
    const pairs = await pairUp(devices);
    const wrong: string[] = [];
    const offered = options.rate || RATE;
    const phase = async (flood: boolean): Promise<TrafficResult & { wrong_logins_per_sec: number }> => {
      const traffic = new Traffic(pairs, size);
      traffic.open(offered);
      let on = flood;
      let refused = 0;
      const lanes = Array.from({ length: flood ? FLOOD : 0 }, async (_, i) => {
        while (on) if ((await enter('wrong horse', i % 2 ? 'bench_person' : 'nobody_at_all')) === 401) refused++;
      });
      await new Promise((resolve) => setTimeout(resolve, WARM_SEC * 1_000));
      refused = 0;
      const result = await traffic.measure(seconds);
      const wrong_logins_per_sec = round(refused / result.seconds);
      on = false;
      await Promise.all(lanes);
      wrong.push(...(await traffic.finish()));
      await system.backlog.settled();
      say(
        `${flood ? `${FLOOD} wrong log-ins at once` : 'quiet'}: delivered p50 ${result.delivered.p50} ms, p99 ${result.delivered.p99} ms`,
      );
      return { ...result, wrong_logins_per_sec };
    };
    const quiet: TrafficResult[] = [];
    const flooded: (TrafficResult & { wrong_logins_per_sec: number })[] = [];
    for (let i = 0; i < Math.max(2, options.runs); i++) {
      quiet.push(await phase(false));
      flooded.push(await phase(true));
    }
    const closed: number[] = [];
    for (const [i, { access_token }] of accounts.slice(0, COUNTED).entries()) {
      const down = devices[i]!.next('close');
      const started = performance.now();
      const status = await post('/v1/auth/logout', {}, { authorization: `Bearer ${access_token}` });
      if (status !== 200) throw new Error(`a log-out was answered ${status}`);
      await down;
      closed.push(performance.now() - started);
    }
    await closeAll(devices);
    const p99 = (all: TrafficResult[]): number => median(all.map(({ delivered }) => delivered.p99));
    const p99_ratio = round(p99(flooded) / p99(quiet));
    return {
      bench: 'login',
      profile,
      offered_msgs_per_sec: offered,
      login_ms,
      wrong_ms,
      unknown_ms,
      login_cpu_us,
      quiet,
      flooded,
      p99_ratio,
      revoked_ms: spread(closed),
      wrong,
    };
  } finally {
    await system.stop();
  }
}

const spread = (took: number[]): Spread => {
  const sorted = took.sort((a, b) => a - b);
  return { p50: round(sorted[Math.floor(sorted.length / 2)]!), p99: round(sorted.at(-1)!) };
};
const round = (value: number): number => Math.round(value * 100) / 100;

export function showLogin({
  login_ms,
  wrong_ms,
  unknown_ms,
  login_cpu_us,
  quiet,
  flooded,
  offered_msgs_per_sec,
  p99_ratio,
  revoked_ms,
}: LoginResult): string {
  const row = (name: string, one: TrafficResult, logins: number | string): (string | number)[] => [
    name,
    one.msgs_per_sec,
    one.delivered.p50,
    one.delivered.p99,
    one.queued.p99,
    logins,
  ];
  return [
    table(
      ['', 'msg/s', 'p50 ms', 'p99 ms', 'queued p99', 'wrong log-ins/s'],
      quiet.flatMap((one, i) => [row('quiet', one, ''), row('flood', flooded[i]!, flooded[i]!.wrong_logins_per_sec)]),
    ),
    `\n${offered_msgs_per_sec} msg/s offered; p99 of delivery under the flood is ${p99_ratio} of the quiet one`,
    `a log-in: p50 ${login_ms.p50} ms, p99 ${login_ms.p99} ms, one after another`,
    `a wrong password: p50 ${wrong_ms.p50} ms, p99 ${wrong_ms.p99} ms; of nobody: p50 ${unknown_ms.p50} ms, p99 ${unknown_ms.p99} ms`,
    `a log-out: the socket is closed after p50 ${revoked_ms.p50} ms, p99 ${revoked_ms.p99} ms`,
    cpuTable(login_cpu_us),
  ].join('\n');
}
