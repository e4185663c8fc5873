/** Decides how long to wait before the next attempt to connect: exponential backoff with full jitter. */
import type { DeviceSettings } from './settings.ts';

/** A connection that lasted this long resets the backoff. */
const STABLE_MS = 5_000;
/** Attempt from which the backoff goes on after the server closed the socket for too many commands. */
const RATE_LIMITED_ATTEMPT = 4;

export class Backoff {
  #attempt = 0;
  /** When the last socket was welcomed, ms; infinite if it was not. */
  #welcomedAt = Number.POSITIVE_INFINITY;
  readonly #settings: DeviceSettings;

  constructor(settings: DeviceSettings) {
    this.#settings = settings;
  }

  /** Whether the last socket was welcomed before it was lost. */
  get wasWelcomed(): boolean {
    return this.#welcomedAt !== Number.POSITIVE_INFINITY;
  }

  noteWelcome(): void {
    this.#welcomedAt = Date.now();
  }

  /**
   * Must be called once for each lost socket. A socket that was welcomed and lost soon counts as a failed attempt;
   * otherwise a listener that always fails would reconnect without any pause.
   * @param fixedMs the delay that the server asked for, instead of a random one
   * @returns the delay before the next attempt, ms
   */
  nextDelayMs({ isRateLimited, fixedMs }: { isRateLimited: boolean; fixedMs: number | undefined }): number {
    const { backoff_base_ms, backoff_cap_ms } = this.#settings;
    if (Date.now() - this.#welcomedAt >= Math.min(backoff_cap_ms, STABLE_MS)) this.#attempt = 0;
    this.#welcomedAt = Number.POSITIVE_INFINITY;
    if (isRateLimited) this.#attempt = Math.max(this.#attempt, RATE_LIMITED_ATTEMPT);
    return fixedMs ?? Math.random() * Math.min(backoff_cap_ms, backoff_base_ms * 2 ** this.#attempt++);
  }
}
