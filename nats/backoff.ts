/** How long to wait after a failure that may come again at once, and whether it is worth a line in the log. */
export class Backoff {
  readonly #baseMs: number;
  readonly #capMs: number;
  /** Failures since the last success. */
  count = 0;
  /** When the first of them was, ms since 1970. */
  since: number | undefined;

  constructor(baseMs: number, capMs: number) {
    this.#baseMs = baseMs;
    this.#capMs = capMs;
  }

  /**
   * Counts a failure. `waitMs` doubles up to the cap and is shortened at random, so that workers that failed together do
   * not ask together again; `say` is true for the first failure and whenever their number has doubled.
   */
  fail(): { waitMs: number; say: boolean } {
    this.since ??= Date.now();
    const count = ++this.count;
    const full = Math.min(this.#capMs, this.#baseMs * 2 ** Math.min(count - 1, 20));
    return { waitMs: full * (0.5 + Math.random() / 2), say: (count & (count - 1)) === 0 };
  }

  succeed(): void {
    this.count = 0;
    this.since = undefined;
  }
}
