/**
 * A map of bounded size for the state of ingest. It is trimmed only where the caller says so (between batches), so a batch
 * never loses what it was loaded with; a map that evicts while it is written to would decide from half of its state.
 */
const SCANNED = 64;

export class BatchCache<V> {
  readonly #entries = new Map<string, V>();
  readonly #max: number;

  /** `max`: entries that remain after a trim, unless more of them have to be kept. */
  constructor(max: number) {
    this.#max = max;
  }

  get size(): number {
    return this.#entries.size;
  }

  has(key: string): boolean {
    return this.#entries.has(key);
  }

  get(key: string): V | undefined {
    return this.#entries.get(key);
  }

  /** As `get`, and the entry counts as used just now. Nearly empty maps keep no order: nothing of them is evicted soon. */
  use(key: string): V | undefined {
    const value = this.#entries.get(key);
    if (value !== undefined && this.#entries.size > this.#max / 2) this.set(key, value);
    return value;
  }

  set(key: string, value: V): void {
    this.#entries.delete(key);
    this.#entries.set(key, value);
  }

  delete(key: string): void {
    this.#entries.delete(key);
  }

  clear(): void {
    this.#entries.clear();
  }

  /**
   * Evicts the least recently used entries above the limit that `mayEvict` allows. A call scans at most twice the excess, so
   * entries that have to stay cost little; they are scanned again after everything else.
   */
  trim(mayEvict: (value: V, key: string) => boolean): void {
    let scans = 2 * (this.#entries.size - this.#max) + SCANNED;
    for (const [key, value] of this.#entries) {
      if (this.#entries.size <= this.#max || scans-- <= 0) return;
      this.#entries.delete(key);
      if (!mayEvict(value, key)) this.#entries.set(key, value);
    }
  }
}
