/** How long the service was away, how fast it was, how much memory its processes took (I7). */
import { readFileSync } from 'node:fs';
import type { Event } from './journal.ts';

/** Milliseconds from the end of the fault until a message that was sent after it was handed to somebody. */
export function recoveryMs(events: readonly Event[]): number | undefined {
  const healed = events.findLastIndex((event) => event.kind === 'mark' && event.what === 'healed');
  if (healed < 0) return undefined;
  const fresh = new Set<string>();
  for (const event of events.slice(healed)) {
    if (event.kind === 'send') fresh.add(event.client_message_id);
    else if (event.kind === 'got' && fresh.has(event.client_message_id)) return event.at - events[healed]!.at;
  }
  return undefined;
}

/** The longest time without any delivery while there was load, milliseconds. */
export function silenceMs(events: readonly Event[]): number {
  const begun = events.find((event) => event.kind === 'mark' && event.what === 'load')?.at ?? 0;
  let last = begun;
  let longest = 0;
  for (const event of events) {
    if (event.at < begun) continue;
    const ends = event.kind === 'mark' && event.what === 'end';
    if (event.kind !== 'got' && !ends) continue;
    longest = Math.max(longest, event.at - last);
    last = event.at;
    if (ends) break;
  }
  return longest;
}

/** The highest resident memory of each process, MiB. */
export class Memory {
  readonly peaks = new Map<string, number>();
  readonly #pids: () => ReadonlyMap<string, number>;
  readonly #timer: NodeJS.Timeout;

  constructor(pids: () => ReadonlyMap<string, number>) {
    this.#pids = pids;
    this.#timer = setInterval(() => this.#look(), 250).unref();
    this.#look();
  }

  stop(): void {
    this.#look();
    clearInterval(this.#timer);
  }

  #look(): void {
    for (const [name, pid] of this.#pids()) this.peaks.set(name, Math.max(this.peaks.get(name) ?? 0, residentMiB(pid)));
  }
}

/** 0 for a process that is gone. */
export function residentMiB(pid: number): number {
  try {
    const [, kib] = /VmRSS:\s+(\d+) kB/.exec(readFileSync(`/proc/${pid}/status`, 'utf8')) ?? [];
    return Math.round(Number(kib ?? 0) / 1024);
  } catch {
    return 0;
  }
}
