/**
 * Holds the state of ingest in a map of bounded size. It is trimmed only when the caller says so (between batches), so a batch
 * never loses what was loaded for it; with a map that evicts on `set`, ingest would decide from half of its state.
 */

/** Entries that `trim` scans at least. */
const MIN_SCANS = 64;

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

  /** As `get`, and marks the entry as used. A map that is at most half full keeps no order, since it evicts nothing soon. */
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
   * entries that must stay cost little; they move to the end of the order.
   */
  trim(mayEvict: (value: V, key: string) => boolean): void {
    let scans = 2 * (this.#entries.size - this.#max) + MIN_SCANS;
    for (const [key, value] of this.#entries) {
      if (this.#entries.size <= this.#max || scans-- <= 0) return;
      this.#entries.delete(key);
      if (!mayEvict(value, key)) this.#entries.set(key, value);
    }
  }
}
