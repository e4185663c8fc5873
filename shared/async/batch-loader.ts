/**
 * Joins the look-ups of one event-loop turn into one call of `load`, which returns the values in the order of its keys.
 * A load that is running does not delay the next one.
 */
export function batchLoader<K, V>(load: (keys: K[]) => Promise<V[]>): (key: K) => Promise<V> {
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
