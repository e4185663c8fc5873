import { setTimeout as delay } from 'node:timers/promises';

/** Resolves after `ms` milliseconds. The timer keeps the process alive unless `ref` is false. */
export const sleep = (ms: number, { ref = true }: { ref?: boolean } = {}): Promise<void> =>
  delay(ms, undefined, { ref });
