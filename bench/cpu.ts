/** Measures the CPU time and memory of processes from /proc: user and system time, of Postgres with all its backends. */
import { readdirSync, readFileSync } from 'node:fs';
import { roundTo } from './report.ts';

/** Returns process ids by name. */
export type Processes = () => Record<string, number>;

/** Linux gives times in ticks of 10 ms (USER_HZ), on every architecture Node runs on. */
const US_PER_TICK = 10_000;

interface CpuStat {
  parent: number;
  /** CPU time of the process itself, µs. */
  ownUs: number;
  /** CPU time of its children that have ended, µs. */
  reapedUs: number;
}

/** @returns undefined for a process that is gone */
function readStat(pid: number): CpuStat | undefined {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, 'utf8');
    const field = text.slice(text.lastIndexOf(')') + 2).split(' ');
    const us = (index: number): number => Number(field[index]) * US_PER_TICK;
    return { parent: Number(field[1]), ownUs: us(11) + us(12), reapedUs: us(13) + us(14) };
  } catch {
    return undefined;
  }
}

/** Returns the CPU time of each process so far, µs. `load` is this process, which makes the load. */
export function cpuTimes(processes: Processes): Record<string, number> {
  const out: Record<string, number> = {};
  const pids = processes();
  for (const [name, pid] of Object.entries(pids)) {
    const stat = readStat(pid);
    out[name] = (stat?.ownUs ?? 0) + (stat?.reapedUs ?? 0);
  }
  if (pids.postgres) {
    for (const entry of readdirSync('/proc')) {
      if (!/^\d+$/.test(entry)) continue;
      const stat = readStat(Number(entry));
      if (stat?.parent === pids.postgres) out.postgres! += stat.ownUs;
    }
  }
  const { user, system } = process.cpuUsage();
  out.load = user + system;
  return out;
}

/** Returns the CPU time of one unit of work, µs, by process and in `all`. */
export function cpuPerUnit(
  before: Record<string, number>,
  after: Record<string, number>,
  units: number,
): Record<string, number> {
  const out: Record<string, number> = {};
  let all = 0;
  for (const [name, us] of Object.entries(after)) {
    const each = (us - (before[name] ?? 0)) / Math.max(1, units);
    all += each;
    out[name] = roundTo(each, 1);
  }
  out.all = roundTo(all, 1);
  return out;
}

/** Returns the resident memory of a process, bytes. */
export function residentBytes(pid: number): number {
  return Number(/^VmRSS:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1] ?? 0) * 1024;
}
