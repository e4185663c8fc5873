/** connects: sockets opened and closed, a few at a time, and how each of them ended before its welcome, if it did. */
import { performance } from 'node:perf_hooks';
import { WebSocket } from 'ws';
import type { Options } from './options.ts';
import type { Account } from './people.ts';
import { startSystem } from './system.ts';

export interface ConnectsResult {
  bench: 'connects';
  connects: number;
  at_a_time: number;
  per_sec: number;
  welcome_ms: { p50: number; p99: number };
  /** Sockets that were closed before their welcome, by code. */
  cut: Record<string, number>;
  wrong: string[];
}

/** @returns the code with which the socket was closed before its welcome. */
function visit(edge: string, { access_token }: Account): Promise<number | undefined> {
  return new Promise((resolve) => {
    const socket = new WebSocket(new URL('/v1/ws', edge), {
      headers: { authorization: `Bearer ${access_token}` },
      perMessageDeflate: false,
    });
    let welcomed = false;
    socket.on('message', () => {
      if (!welcomed) socket.close(1000);
      welcomed = true;
    });
    socket.on('error', () => {});
    socket.on('close', (code) => resolve(welcomed ? undefined : code));
  });
}

/** One device for each socket that is open at a time. */
export async function connects({ devices, connects: count, profiles, say, cpuProf }: Options): Promise<ConnectsResult> {
  const system = await startSystem({ profile: profiles.at(-1)!, say, cpuProf });
  try {
    const accounts = await system.accounts(devices);
    const cut: Record<string, number> = {};
    const took: number[] = [];
    let left = count;
    const started = performance.now();
    await Promise.all(
      accounts.map(async (account) => {
        while (left-- > 0) {
          const since = performance.now();
          const code = await visit(system.edge, account);
          if (code === undefined) took.push(performance.now() - since);
          else cut[code] = (cut[code] ?? 0) + 1;
        }
      }),
    );
    const seconds = (performance.now() - started) / 1_000;
    took.sort((a, b) => a - b);
    const at = (share: number): number => Math.round((took[Math.floor(took.length * share)] ?? 0) * 10) / 10;
    return {
      bench: 'connects',
      connects: count,
      at_a_time: devices,
      per_sec: Math.round(count / seconds),
      welcome_ms: { p50: at(0.5), p99: at(0.99) },
      cut,
      wrong: Object.entries(cut).map(([code, n]) => `${n} sockets were closed with ${code} before their welcome`),
    };
  } finally {
    await system.stop();
  }
}

export const showConnects = ({ connects: count, at_a_time, per_sec, welcome_ms, wrong }: ConnectsResult): string =>
  `${count} sockets, ${at_a_time} at a time: ${per_sec} a second, closed again p50 ${welcome_ms.p50} ms, p99 ${welcome_ms.p99} ms; ${wrong.length ? wrong.join(', ') : 'each had its welcome'}`;
