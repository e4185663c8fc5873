/** Hashes and verifies passwords with Argon2id, one after another on a thread of their own. */
import { randomBytes } from 'node:crypto';
import { Worker } from 'node:worker_threads';
import { type Algorithm, type Options, parseOptions } from '@node-rs/argon2';
import type { Logger } from 'pino';
import type { Config } from '../../../shared/config/index.ts';
import type { Metrics } from '../../../shared/metrics.ts';
import { HashQueue } from './hash-queue.ts';

export interface Passwords {
  /** Returns a PHC string, `$argon2id$…`. @throws {ApiError} `unavailable` when too many passwords wait */
  hash(password: string): Promise<string>;
  /** Takes the same time whether there is a stored hash or not. @throws {ApiError} as `hash` */
  verify(stored: string | null | undefined, password: string): Promise<boolean>;
  /** Whether a hash was made with other parameters than the settings have now. */
  isStale(stored: string): boolean;
  close(): Promise<void>;
}
export interface PasswordOptions {
  log?: Pick<Logger, 'error'>;
  startThread?: (options: Options) => Worker;
  /** After so many threads that ended with one password it is given up, because it may be what ends them. */
  maxEnded?: number;
  /** Pause before a new thread, ms. It doubles when a thread ends without having hashed anything. */
  pauseMs?: number;
  maxPauseMs?: number;
}

const newThread = (workerData: Options): Worker =>
  new Worker(new URL('./hash-worker.ts', import.meta.url), { workerData });

export async function openPasswords(
  config: Pick<Config, 'ARGON2_MEMORY_KIB' | 'ARGON2_PASSES' | 'PASSWORD_QUEUE_MAX'>,
  metrics: Pick<Metrics, 'passwords'>,
  { log, startThread = newThread, maxEnded = 3, pauseMs = 50, maxPauseMs = 5_000 }: PasswordOptions = {},
): Promise<Passwords> {
  const options = {
    // 2 is Argon2id. The const enum cannot be imported, as TypeScript runs without a build.
    algorithm: 2 as Algorithm.Argon2id,
    memoryCost: config.ARGON2_MEMORY_KIB,
    timeCost: config.ARGON2_PASSES,
    parallelism: 1,
  };
  const queue = new HashQueue({
    argon2: options,
    maxWaiting: config.PASSWORD_QUEUE_MAX,
    startTimer: () => metrics.passwords.startTimer(),
    log,
    startThread,
    maxEnded,
    pauseMs,
    maxPauseMs,
  });
  const hash = (password: string): Promise<string> => queue.run(password) as Promise<string>;
  /** Compared with when there is no stored hash, so that the time does not reveal that there is none. */
  const dummyHash = await hash(randomBytes(32).toString('hex'));

  return {
    hash,
    async verify(stored, password) {
      const matches = (await queue.run(password, stored ?? dummyHash)) as boolean;
      return matches && stored != null;
    },
    isStale(stored) {
      const { algorithm, memoryCost, timeCost, parallelism } = parseOptions(stored);
      const wanted = [options.algorithm, options.memoryCost, options.timeCost, options.parallelism];
      return [algorithm, memoryCost, timeCost, parallelism].some((value, i) => value !== wanted[i]);
    },
    close: () => queue.close(),
  };
}
