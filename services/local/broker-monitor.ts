/** Restarts the embedded broker when it answers and goes on refusing what services publish. */
import { statfsSync } from 'node:fs';

/** Below this the disk counts as full: a restart would end in the same state. */
const ROOM_BYTES = 64 << 20;

export interface BrokerCareOptions {
  /** The broker is restarted when it has been refusing for longer than this. */
  afterMs: number;
  /** Two restarts are at least so far apart. */
  apartMs?: number;
  everyMs?: number;
  roomBytes?: number;
  /** Of the disk that the broker writes to. */
  freeBytes(): number;
  restart(): Promise<void>;
  /** Progress, one line. */
  say(line: string): void;
}

export class BrokerMonitor {
  readonly #options: BrokerCareOptions;
  /** By process: since when it is refused, ms since 1970. */
  readonly #refused = new Map<string, number>();
  readonly #timer: NodeJS.Timeout;
  #restarted = Number.NEGATIVE_INFINITY;
  #restarting = false;
  #saidFull = false;

  constructor(options: BrokerCareOptions) {
    this.#options = options;
    this.#timer = setInterval(() => void this.#look(), options.everyMs ?? 1_000).unref();
  }

  /** What a process reports; undefined when it is served, or gone. */
  report(from: string, since: number | undefined): void {
    if (since === undefined) this.#refused.delete(from);
    else this.#refused.set(from, since);
  }

  stop(): void {
    clearInterval(this.#timer);
  }

  async #look(): Promise<void> {
    const { afterMs, apartMs = 60_000, roomBytes = ROOM_BYTES, freeBytes, restart, say } = this.#options;
    const now = Date.now();
    // A refusal that was reported before the last restart says nothing about the broker that runs now.
    const since = Math.max(Math.min(...this.#refused.values()), this.#restarted);
    if (this.#refused.size === 0) this.#saidFull = false;
    if (this.#restarting || this.#refused.size === 0 || now - since < afterMs || now - this.#restarted < apartMs)
      return;
    const free = freeBytes();
    if (free < roomBytes) {
      if (!this.#saidFull)
        say(
          `nats refuses what is published, and its disk is full (${free >> 20} MiB left): make room, it is restarted then`,
        );
      this.#saidFull = true;
      return;
    }
    say(`nats has refused what is published for ${Math.round((now - since) / 1_000)} s: restarting it`);
    this.#restarting = true;
    try {
      await restart();
    } finally {
      this.#restarting = false;
      this.#restarted = Date.now();
    }
  }
}

/** What this process may still write below `dir`. */
export function freeBytesOf(dir: string): number {
  const { bavail, bsize } = statfsSync(dir);
  return bavail * bsize;
}
