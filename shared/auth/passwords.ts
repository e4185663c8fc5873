/** Passwords as Argon2id, hashed on a thread of their own one after another. */
import { randomBytes } from 'node:crypto';
import { Worker } from 'node:worker_threads';
import { type Algorithm, parseOptions } from '@node-rs/argon2';
import type { Config } from '../config/index.ts';
import { ApiError } from '../contract/errors.ts';
import type { Metrics } from '../metrics.ts';
import type { HashDone, HashJob } from './hash-worker.ts';

export interface Passwords {
  /** A PHC string, `$argon2id$…`. @throws {ApiError} `unavailable` when too many wait. */
  hash(password: string): Promise<string>;
  /** Takes the same time whether there is a hash to compare with or not. @throws {ApiError} as `hash` */
  verify(stored: string | null | undefined, password: string): Promise<boolean>;
  /** Whether it was made with other parameters than are configured now. */
  stale(stored: string): boolean;
  close(): Promise<void>;
}
interface Waiting {
  /** Stops the clock, which counts in the metrics. */
  observe(): void;
  resolve(value: string | boolean): void;
  reject(error: Error): void;
}

export async function openPasswords(
  config: Pick<Config, 'ARGON2_MEMORY_KIB' | 'ARGON2_PASSES' | 'PASSWORD_QUEUE_MAX'>,
  metrics: Pick<Metrics, 'passwords'>,
): Promise<Passwords> {
  const options = {
    // A const enum, which a runtime without a build can't import: 2 is Argon2id.
    algorithm: 2 as Algorithm.Argon2id,
    memoryCost: config.ARGON2_MEMORY_KIB,
    timeCost: config.ARGON2_PASSES,
    parallelism: 1,
  };
  const worker = new Worker(new URL('./hash-worker.ts', import.meta.url), { workerData: options });
  const waiting = new Map<number, Waiting>();
  let last = 0;
  let broken: Error | undefined;
  const fail = (error: Error): void => {
    broken ??= error;
    for (const { reject } of waiting.values()) reject(broken);
    waiting.clear();
  };
  worker.on('error', fail);
  worker.on('exit', () => fail(new Error('the thread that hashes passwords has ended')));
  worker.on('message', (done: HashDone) => {
    const one = waiting.get(done.id);
    waiting.delete(done.id);
    one?.observe();
    if ('error' in done) one?.reject(new Error(done.error));
    else one?.resolve(done.value);
    if (waiting.size === 0) worker.unref();
  });

  function ask(password: string, stored?: string): Promise<string | boolean> {
    if (broken) return Promise.reject(broken);
    if (waiting.size >= config.PASSWORD_QUEUE_MAX)
      return Promise.reject(new ApiError('unavailable', 'too many log-ins at once', { retry_after_ms: 2_000 }));
    return new Promise((resolve, reject) => {
      const id = ++last;
      waiting.set(id, { resolve, reject, observe: metrics.passwords.startTimer() });
      worker.ref();
      worker.postMessage({ id, password: password.normalize('NFKC'), stored } satisfies HashJob);
    });
  }
  const hash = (password: string): Promise<string> => ask(password) as Promise<string>;
  const nobody = await hash(randomBytes(32).toString('hex'));

  return {
    hash,
    async verify(stored, password) {
      const right = (await ask(password, stored ?? nobody)) as boolean;
      return right && stored != null;
    },
    stale(stored) {
      const { algorithm, memoryCost, timeCost, parallelism } = parseOptions(stored);
      const wanted = [options.algorithm, options.memoryCost, options.timeCost, options.parallelism];
      return [algorithm, memoryCost, timeCost, parallelism].some((value, i) => value !== wanted[i]);
    },
    async close() {
      await worker.terminate();
    },
  };
}
