/**
 * Joins the look-ups of one event-loop turn into one call of `load`, which returns the values in the order of its keys.
 * A call that is under way is not waited for.
 */
export function batched<K, V>(load: (keys: K[]) => Promise<V[]>): (key: K) => Promise<V> {
  interface Waiting {
    key: K;
    resolve(value: V): void;
    reject(error: unknown): void;
  }
  let waiting: Waiting[] = [];
  const run = async (): Promise<void> => {
    const batch = waiting;
    waiting = [];
    try {
      const values = await load(batch.map(({ key }) => key));
      for (let i = 0; i < batch.length; i++) batch[i]!.resolve(values[i]!);
    } catch (error) {
      for (const { reject } of batch) reject(error);
    }
  };
  return (key) =>
    new Promise((resolve, reject) => {
      if (waiting.push({ key, resolve, reject }) === 1) setImmediate(() => void run());
    });
}

/** One `load` at a time for each key: who asks while one runs shares the next, which begins after the question. */
export function inTurns<K, V>(load: (key: K) => Promise<V>): (key: K) => Promise<V> {
  const running = new Map<K, Promise<V>>();
  const coming = new Map<K, Promise<V>>();
  const begin = (key: K): Promise<V> => {
    coming.delete(key);
    const run = load(key).finally(() => running.delete(key));
    running.set(key, run);
    return run;
  };
  return (key) => {
    const known = coming.get(key);
    if (known) return known;
    const now = running.get(key);
    if (!now) return begin(key);
    const next = now.then(
      () => begin(key),
      () => begin(key),
    );
    coming.set(key, next);
    return next;
  };
}

/** A map that forgets what was used longest ago. */
export class LruMap<K, V> {
  readonly #map = new Map<K, V>();
  readonly #size: number;

  constructor(size: number) {
    this.#size = size;
  }

  get(key: K): V | undefined {
    const value = this.#map.get(key);
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
