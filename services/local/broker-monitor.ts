/** Restarts the broker of `npm start` when it answers and yet goes on refusing what services publish. */
import { statfsSync } from 'node:fs';
import { type PeriodicTask, startPeriodicTask } from '../../shared/async/periodic-task.ts';

/** Below this the disk counts as full: a restarted broker would soon refuse again. */
const MIN_FREE_BYTES = 64 << 20;

export interface BrokerMonitorOptions {
  /** The broker is restarted when it has refused for longer than this. */
  restartAfterMs: number;
  /** Least time between two restarts. */
  minIntervalMs?: number;
  everyMs?: number;
  minFreeBytes?: number;
  /** Free bytes of the disk that the broker writes to. */
  freeBytes(): number;
  restart(): Promise<void>;
  /** Receives one line per step. */
  onProgress(line: string): void;
}

export class BrokerMonitor {
  readonly #options: BrokerMonitorOptions;
  /** By process: since when the broker refuses it, ms since 1970. */
  readonly #refusesSince = new Map<string, number>();
  readonly #task: PeriodicTask;
  #restartedAt = Number.NEGATIVE_INFINITY;
  #fullDiskReported = false;

  constructor(options: BrokerMonitorOptions) {
    this.#options = options;
    this.#task = startPeriodicTask(() => this.#check(), {
      everyMs: options.everyMs ?? 1_000,
      onError: (error) => options.onProgress(`nats was not restarted: ${(error as Error).message}`),
    });
  }

  /** Takes the report of a process: since when the broker refuses it, undefined when it does not, or the process is gone. */
  reportRefusal(process: string, since: number | undefined): void {
    if (since === undefined) this.#refusesSince.delete(process);
    else this.#refusesSince.set(process, since);
  }

  close(): Promise<void> {
    return this.#task.close();
  }

  async #check(): Promise<void> {
    const { restartAfterMs, minIntervalMs = 60_000, minFreeBytes = MIN_FREE_BYTES } = this.#options;
    const { freeBytes, restart, onProgress } = this.#options;
    if (this.#refusesSince.size === 0) {
      this.#fullDiskReported = false;
      return;
    }
    const now = Date.now();
    // A refusal that was reported before the last restart says nothing about the broker that runs now.
    const since = Math.max(Math.min(...this.#refusesSince.values()), this.#restartedAt);
    if (now - since < restartAfterMs || now - this.#restartedAt < minIntervalMs) return;
    const free = freeBytes();
    if (free < minFreeBytes) {
      if (!this.#fullDiskReported)
        onProgress(
          `nats refuses what is published, and its disk is full (${free >> 20} MiB left): make room, and it is restarted`,
        );
      this.#fullDiskReported = true;
      return;
    }
    onProgress(`nats has refused what is published for ${Math.round((now - since) / 1_000)} s: restarting it`);
    try {
      await restart();
    } finally {
      this.#restartedAt = Date.now();
    }
  }
}

/** @returns the bytes that this process may still write below `dir`. */
export function measureFreeBytes(dir: string): number {
  const { bavail, bsize } = statfsSync(dir);
  return bavail * bsize;
}
