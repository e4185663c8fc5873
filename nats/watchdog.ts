/** Notices that the broker has been silent for too long, and not that this process was frozen meanwhile. */
import { HEARTBEAT_MS } from './pull-requests.ts';

/** After this many missing heartbeats the broker counts as silent. */
const MISSING_HEARTBEATS = 4;

export class Watchdog {
  #heardAt = Date.now();
  #tickedAt = Date.now();

  /** The broker has sent something. */
  recordHeard(): void {
    this.#heardAt = Date.now();
  }

  /** Call it several times per heartbeat. @returns true when this process was frozen: what came meanwhile is not read yet */
  tick(now: number): boolean {
    const wasFrozen = now - this.#tickedAt > HEARTBEAT_MS;
    this.#tickedAt = now;
    return wasFrozen;
  }

  isSilent(now: number): boolean {
    return now - this.#heardAt > MISSING_HEARTBEATS * HEARTBEAT_MS;
  }

  /** Begins again after a restart; the broker has one heartbeat less to answer than after a message. */
  restart(now: number): void {
    this.#heardAt = now - HEARTBEAT_MS;
  }
}
