/** A map of at most `size` entries, from which the least recently used entry is evicted. */
export class LruMap<K, V> {
  readonly #map = new Map<K, V>();
  readonly #size: number;

  constructor(size: number) {
    this.#size = size;
  }

  get(key: K): V | undefined {
    const value = this.#map.get(key);
    // A map that is less than half full evicts nothing soon, so the order need not be kept.
    if (value !== undefined && this.#map.size > this.#size / 2) {
      this.#map.delete(key);
      this.#map.set(key, value);
    }
    return value;
  }

  set(key: K, value: V): void {
    this.#map.set(key, value);
    if (this.#map.size > this.#size) this.#map.delete(this.#map.keys().next().value!);
  }
}
