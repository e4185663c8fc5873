/** Workload connects: opens and closes sockets, a few at a time, and counts those that were closed before their welcome. */
import { performance } from 'node:perf_hooks';
import { WebSocket } from 'ws';
import type { Account } from './accounts.ts';
import type { Options } from './options.ts';
import { roundTo } from './report.ts';
import { startBenchSystem } from './system.ts';

export interface ConnectsResult {
  bench: 'connects';
  connects: number;
  at_a_time: number;
  per_sec: number;
  welcome_ms: { p50: number; p99: number };
  /** Sockets that were closed before their welcome, by close code. */
  cut: Record<string, number>;
  wrong: string[];
}

/** Opens a socket and closes it after its welcome. @returns the close code, if it was closed before */
function openAndClose(edge: string, { access_token }: Account): Promise<number | undefined> {
  return new Promise((resolve) => {
    const socket = new WebSocket(new URL('/v1/ws', edge), {
      headers: { authorization: `Bearer ${access_token}` },
      perMessageDeflate: false,
    });
    let isWelcomed = false;
    socket.on('message', () => {
      if (!isWelcomed) socket.close(1000);
      isWelcomed = true;
    });
    socket.on('error', () => {});
    socket.on('close', (code) => resolve(isWelcomed ? undefined : code));
  });
}

/** Opens `--connects` sockets, as many at a time as there are devices. */
export async function measureConnects({
  devices,
  connects: count,
  profiles,
  log,
  cpuProf,
}: Options): Promise<ConnectsResult> {
  const system = await startBenchSystem({ profile: profiles.at(-1)!, log, cpuProf });
  try {
    const accounts = await system.createAccounts(devices);
    const closedEarly: Record<string, number> = {};
    const durationsMs: number[] = [];
    let remaining = count;
    const startedAt = performance.now();
    await Promise.all(
      accounts.map(async (account) => {
        while (remaining-- > 0) {
          const socketStartedAt = performance.now();
          const code = await openAndClose(system.edge, account);
          if (code === undefined) durationsMs.push(performance.now() - socketStartedAt);
          else closedEarly[code] = (closedEarly[code] ?? 0) + 1;
        }
      }),
    );
    const seconds = (performance.now() - startedAt) / 1_000;
    durationsMs.sort((a, b) => a - b);
    const at = (share: number): number => roundTo(durationsMs[Math.floor(durationsMs.length * share)] ?? 0, 1);
    return {
      bench: 'connects',
      connects: count,
      at_a_time: devices,
      per_sec: Math.round(count / seconds),
      welcome_ms: { p50: at(0.5), p99: at(0.99) },
      cut: closedEarly,
      wrong: Object.entries(closedEarly).map(
        ([code, n]) => `${n} sockets were closed with ${code} before their welcome`,
      ),
    };
  } finally {
    await system.close();
  }
}

export const formatConnects = ({ connects: count, at_a_time, per_sec, welcome_ms, wrong }: ConnectsResult): string =>
  `${count} sockets, ${at_a_time} at a time: ${per_sec} a second, opened and closed in p50 ${welcome_ms.p50} ms, p99 ${welcome_ms.p99} ms; ${wrong.length ? wrong.join(', ') : 'each got its welcome'}`;
