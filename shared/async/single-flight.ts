/**
 * Returns a function that shares one run of `task` among its callers: a call during a run gets the result of that run.
 * A run that fails is not remembered; the next call begins a new one.
 */
export function singleFlight<T>(task: () => Promise<T>): () => Promise<T> {
  let running: Promise<T> | undefined;
  return () => {
    running ??= task().finally(() => {
      running = undefined;
    });
    return running;
  };
}

/**
 * Returns a function that runs `load` once at a time for each key. A call during a run shares the run that follows it, which
 * begins after the call: so its result includes everything that was written before the call.
 */
export function serializedByKey<K, V>(load: (key: K) => Promise<V>): (key: K) => Promise<V> {
  const running = new Map<K, Promise<V>>();
  const following = new Map<K, Promise<V>>();
  const begin = (key: K): Promise<V> => {
    following.delete(key);
    const run = load(key).finally(() => running.delete(key));
    running.set(key, run);
    return run;
  };
  return (key) => {
    const known = following.get(key);
    if (known) return known;
    const current = running.get(key);
    if (!current) return begin(key);
    const next = current.then(
      () => begin(key),
      () => begin(key),
    );
    following.set(key, next);
    return next;
  };
}
