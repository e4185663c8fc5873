import { ApiError } from '../../shared/contract/errors.ts';

/** So many calls per key and fixed window, counted in this process. Memory is bounded by one window's keys. */
export class Limiter {
  readonly #max: number;
  readonly #windowMs: number;
  #counts = new Map<string, number>();
  #window = -1;

  constructor(max: number, windowSec: number) {
    this.#max = max;
    this.#windowMs = windowSec * 1000;
  }

  /** @throws {ApiError} `rate_limited` with the time until the next window. */
  take(key: string, now = Date.now()): void {
    const window = Math.floor(now / this.#windowMs);
    if (window !== this.#window) {
      this.#window = window;
      this.#counts = new Map();
    }
    const count = (this.#counts.get(key) ?? 0) + 1;
    this.#counts.set(key, count);
    if (count > this.#max)
      throw new ApiError('rate_limited', 'too many requests from this address', {
        retry_after_ms: (window + 1) * this.#windowMs - now,
      });
  }
}
