/** Measures a run for I7: how long the service was down, how soon it recovered, and how much memory its processes took. */
import { readFileSync } from 'node:fs';
import type { Event } from './journal.ts';

/** Time between two samples of memory. */
const SAMPLE_MS = 250;

/** Returns the time from the end of the fault until a message that was sent after it was delivered, ms. */
export function recoveryMs(events: readonly Event[]): number | undefined {
  const healedIndex = events.findLastIndex((event) => event.kind === 'mark' && event.what === 'healed');
  if (healedIndex < 0) return undefined;
  const sentAfterwards = new Set<string>();
  for (const event of events.slice(healedIndex)) {
    if (event.kind === 'send') sentAfterwards.add(event.client_message_id);
    else if (event.kind === 'got' && sentAfterwards.has(event.client_message_id))
      return event.at - events[healedIndex]!.at;
  }
  return undefined;
}

/** Returns the longest time without any delivery under load, ms. */
export function silenceMs(events: readonly Event[]): number {
  const loadAt = events.find((event) => event.kind === 'mark' && event.what === 'load')?.at ?? 0;
  let lastAt = loadAt;
  let longest = 0;
  for (const event of events) {
    if (event.at < loadAt) continue;
    const isEnd = event.kind === 'mark' && event.what === 'end';
    if (event.kind !== 'got' && !isEnd) continue;
    longest = Math.max(longest, event.at - lastAt);
    lastAt = event.at;
    if (isEnd) break;
  }
  return longest;
}

/** Samples the memory of processes until it is closed. */
export class MemoryPeaks {
  /** Highest resident memory by process, MiB. */
  readonly peaks = new Map<string, number>();
  readonly #pids: () => ReadonlyMap<string, number>;
  readonly #timer: NodeJS.Timeout;

  constructor(pids: () => ReadonlyMap<string, number>) {
    this.#pids = pids;
    this.#timer = setInterval(() => this.#sample(), SAMPLE_MS).unref();
    this.#sample();
  }

  close(): void {
    this.#sample();
    clearInterval(this.#timer);
  }

  #sample(): void {
    for (const [name, pid] of this.#pids()) this.peaks.set(name, Math.max(this.peaks.get(name) ?? 0, residentMiB(pid)));
  }
}

/** Returns the resident memory of a process, MiB; 0 for a process that is gone. */
export function residentMiB(pid: number): number {
  try {
    const [, kib] = /VmRSS:\s+(\d+) kB/.exec(readFileSync(`/proc/${pid}/status`, 'utf8')) ?? [];
    return Math.round(Number(kib ?? 0) / 1024);
  } catch {
    return 0;
  }
}
