/** Workload idle: memory and CPU of the edge for sockets that are open and silent, against the bare relay. */
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { sleep } from '../shared/async/sleep.ts';
import { type Account, createRelayAccounts } from './accounts.ts';
import { startRelay } from './ceiling/start-relay.ts';
import { cpuTimes, residentBytes } from './cpu.ts';
import { closeAll, connectAll } from './devices.ts';
import type { Options } from './options.ts';
import { roundTo } from './report.ts';
import { startBenchSystem } from './system.ts';

const COLLECT = fileURLToPath(new URL('./ceiling/collect-garbage.ts', import.meta.url));
const FLAGS = ['--expose-gc', '--import', COLLECT];
/** Pause after each garbage collection, in which timers run and the allocator returns memory. */
const SETTLE_MS = 1_500;
const COLLECTIONS = 3;
/** Files that a process may have open besides its sockets. */
const OTHER_FILES = 200;

export interface IdleSide {
  /** Bytes: (all sockets − half of them) ÷ half, so that the memory of the process itself does not count. */
  bytes_per_socket: number;
  rss_mb: number;
  /** CPU time of the process with all sockets idle, ms a second. */
  cpu_ms_per_sec: number;
}
export interface IdleResult {
  bench: 'idle';
  sockets: number;
  edge: IdleSide;
  bare: IdleSide;
  ratio: number;
}

/** Returns the resident memory of a process after garbage collections, bytes. */
async function memoryAfterCollections(pid: number): Promise<number> {
  for (let i = 0; i < COLLECTIONS; i++) {
    process.kill(pid, 'SIGUSR2');
    await sleep(SETTLE_MS);
  }
  return residentBytes(pid);
}

async function measureSide(accounts: Account[], edge: string, pid: number, seconds: number): Promise<IdleSide> {
  const half = accounts.length >> 1;
  const firstHalf = await connectAll(accounts.slice(0, half), edge);
  const before = await memoryAfterCollections(pid);
  const secondHalf = await connectAll(accounts.slice(half), edge);
  const after = await memoryAfterCollections(pid);
  const processes = (): Record<string, number> => ({ measured: pid });
  const cpuBefore = cpuTimes(processes).measured!;
  await sleep(seconds * 1_000);
  const cpuMsPerSec = (cpuTimes(processes).measured! - cpuBefore) / 1_000 / seconds;
  await closeAll([...firstHalf, ...secondHalf]);
  return {
    bytes_per_socket: Math.round((after - before) / (accounts.length - half)),
    rss_mb: Math.round(after / 2 ** 20),
    cpu_ms_per_sec: roundTo(cpuMsPerSec, 1),
  };
}

export async function measureIdleSockets({ devices, seconds, log, cpuProf }: Options): Promise<IdleResult> {
  const files = Number(/^Max open files\s+(\d+)/m.exec(readFileSync('/proc/self/limits', 'utf8'))?.[1] ?? 0);
  if (devices > files - OTHER_FILES)
    throw new Error(
      `${devices} sockets need more than the ${files} open files that ulimit -n allows; raise it or lower --devices`,
    );
  const relay = await startRelay(FLAGS);
  const bare = await measureSide(createRelayAccounts(devices), relay.edge, relay.pid, seconds);
  await relay.close();
  log(`bare relay: ${bare.bytes_per_socket} bytes a socket`);
  const system = await startBenchSystem({ profile: 'durable', log, cpuProf, execArgv: FLAGS });
  try {
    const edge = await measureSide(
      await system.createAccounts(devices),
      system.edge,
      system.localSystem.pids().edge!,
      seconds,
    );
    const ratio = roundTo(edge.bytes_per_socket / bare.bytes_per_socket, 2);
    return { bench: 'idle', sockets: devices, edge, bare, ratio };
  } finally {
    await system.close();
  }
}
