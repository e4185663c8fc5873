/** idle: what an open socket that says nothing costs the edge, against the bare relay. */
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { startRelay } from './ceiling/start-relay.ts';
import { cpuTimes, rss } from './cpu.ts';
import { closeAll, connectAll } from './crowd.ts';
import type { Options } from './options.ts';
import { type Account, inventAccounts } from './people.ts';
import { startSystem } from './system.ts';

const COLLECT = fileURLToPath(new URL('./ceiling/collect.ts', import.meta.url));
const FLAGS = ['--expose-gc', '--import', COLLECT];
/** After each collection, for timers and the allocator. */
const REST_MS = 1_500;
/** Files that a process has open besides its sockets. */
const SPARE = 200;

export interface IdleSide {
  /** Bytes: (all sockets − half of them) ÷ half, so that what a process needs anyway does not count. */
  bytes_per_socket: number;
  rss_mb: number;
  /** CPU of the process, ms a second, all sockets idle. */
  cpu_ms_per_sec: number;
}
export interface IdleResult {
  bench: 'idle';
  sockets: number;
  edge: IdleSide;
  bare: IdleSide;
  ratio: number;
}

/** Memory that the process holds once garbage is gone, bytes. */
async function held(pid: number): Promise<number> {
  for (let i = 0; i < 3; i++) {
    process.kill(pid, 'SIGUSR2');
    await new Promise((resolve) => setTimeout(resolve, REST_MS));
  }
  return rss(pid);
}

async function side(accounts: Account[], edge: string, pid: number, seconds: number): Promise<IdleSide> {
  const half = accounts.length >> 1;
  const first = await connectAll(accounts.slice(0, half), edge);
  const before = await held(pid);
  const second = await connectAll(accounts.slice(half), edge);
  const after = await held(pid);
  const processes = (): Record<string, number> => ({ it: pid });
  const cpu = cpuTimes(processes).it!;
  await new Promise((resolve) => setTimeout(resolve, seconds * 1_000));
  const spent = (cpuTimes(processes).it! - cpu) / 1_000 / seconds;
  await closeAll([...first, ...second]);
  return {
    bytes_per_socket: Math.round((after - before) / (accounts.length - half)),
    rss_mb: Math.round(after / 2 ** 20),
    cpu_ms_per_sec: Math.round(spent * 10) / 10,
  };
}

export async function idle({ devices, seconds, say, cpuProf }: Options): Promise<IdleResult> {
  const files = Number(/^Max open files\s+(\d+)/m.exec(readFileSync('/proc/self/limits', 'utf8'))?.[1] ?? 0);
  if (devices > files - SPARE) throw new Error(`${devices} sockets need more than the ${files} files of ulimit -n`);
  const relay = await startRelay(FLAGS);
  const bare = await side(inventAccounts(devices), relay.edge, relay.pid, seconds);
  await relay.stop();
  say(`bare: ${bare.bytes_per_socket} bytes a socket`);
  const system = await startSystem({ profile: 'durable', say, cpuProf, execArgv: FLAGS });
  try {
    const edge = await side(await system.accounts(devices), system.edge, system.tree.pids().edge!, seconds);
    const ratio = Math.round((edge.bytes_per_socket / bare.bytes_per_socket) * 100) / 100;
    return { bench: 'idle', sockets: devices, edge, bare, ratio };
  } finally {
    await system.stop();
  }
}
