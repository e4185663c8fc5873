/** Counts failures in a row: says how long to wait before the next attempt and whether the failure is worth a log line. */
export class Backoff {
  readonly #baseMs: number;
  readonly #capMs: number;
  /** Failures since the last success. */
  failures = 0;
  /** When the first of them was, ms since 1970. */
  failingSince: number | undefined;

  constructor(baseMs: number, capMs: number) {
    this.#baseMs = baseMs;
    this.#capMs = capMs;
  }

  /**
   * Counts a failure. `waitMs` doubles up to the cap and is shortened at random, so that workers that failed together do
   * not ask together again; `shouldLog` is true for the first failure and whenever their number has doubled.
   */
  recordFailure(): { waitMs: number; shouldLog: boolean } {
    this.failingSince ??= Date.now();
    const failures = ++this.failures;
    const full = Math.min(this.#capMs, this.#baseMs * 2 ** Math.min(failures - 1, 20));
    return { waitMs: full * (0.5 + Math.random() / 2), shouldLog: (failures & (failures - 1)) === 0 };
  }

  /** The work succeeded, or is not ours any more: the next failure counts as the first. */
  reset(): void {
    this.failures = 0;
    this.failingSince = undefined;
  }
}
