/** What a unit of work costs each process, from /proc: user and system time, of Postgres with all its backends. */
import { readdirSync, readFileSync } from 'node:fs';

/** Process ids by name. */
export type Processes = () => Record<string, number>;

/** Linux gives times in ticks of 10 ms (USER_HZ), on every architecture Node runs on. */
const US_PER_TICK = 10_000;

interface Stat {
  parent: number;
  /** µs, its own. */
  own: number;
  /** µs, of children that ended. */
  reaped: number;
}

function stat(pid: number): Stat | undefined {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, 'utf8');
    const field = text.slice(text.lastIndexOf(')') + 2).split(' ');
    const us = (at: number): number => Number(field[at]) * US_PER_TICK;
    return { parent: Number(field[1]), own: us(11) + us(12), reaped: us(13) + us(14) };
  } catch {
    return undefined;
  }
}

/** µs of CPU so far, by process name; `load` is this process. */
export function cpuTimes(processes: Processes): Record<string, number> {
  const out: Record<string, number> = {};
  const pids = processes();
  for (const [name, pid] of Object.entries(pids)) {
    const one = stat(pid);
    out[name] = (one?.own ?? 0) + (one?.reaped ?? 0);
  }
  if (pids.postgres) {
    for (const entry of readdirSync('/proc')) {
      if (!/^\d+$/.test(entry)) continue;
      const one = stat(Number(entry));
      if (one?.parent === pids.postgres) out.postgres! += one.own;
    }
  }
  const { user, system } = process.cpuUsage();
  out.load = user + system;
  return out;
}

/** µs of CPU a message, by process name and in all. */
export function cpuPer(
  before: Record<string, number>,
  after: Record<string, number>,
  messages: number,
): Record<string, number> {
  const out: Record<string, number> = {};
  let all = 0;
  for (const [name, us] of Object.entries(after)) {
    const each = (us - (before[name] ?? 0)) / Math.max(1, messages);
    all += each;
    out[name] = round(each);
  }
  out.all = round(all);
  return out;
}

/** Resident memory in bytes. */
export function rss(pid: number): number {
  return Number(/^VmRSS:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1] ?? 0) * 1024;
}

const round = (value: number): number => Math.round(value * 10) / 10;
