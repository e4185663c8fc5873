/** Hashes and verifies passwords with Argon2id, one after another on a thread of their own. */
import { randomBytes } from 'node:crypto';
import { Worker } from 'node:worker_threads';
import { type Algorithm, type Options, parseOptions } from '@node-rs/argon2';
import type { Logger } from 'pino';
import type { Config } from '../../../shared/config/index.ts';
import { ApiError } from '../../../shared/contract/errors.ts';
import type { Metrics } from '../../../shared/metrics.ts';
import type { HashDone, HashJob } from './hash-worker.ts';

export interface Passwords {
  /** Returns a PHC string, `$argon2id$…`. @throws {ApiError} `unavailable` when too many passwords wait */
  hash(password: string): Promise<string>;
  /** Takes the same time whether there is a stored hash or not. @throws {ApiError} as `hash` */
  verify(stored: string | null | undefined, password: string): Promise<boolean>;
  /** Whether a hash was made with other parameters than the settings have now. */
  isStale(stored: string): boolean;
  close(): Promise<void>;
}
const unavailable = (message: string, retry_after_ms: number): ApiError =>
  new ApiError('unavailable', message, { retry_after_ms });

interface WaitingJob {
  job: HashJob;
  /** Threads that ended while they worked on it. */
  endedThreads: number;
  /** Records the time in the metrics. */
  observe(): void;
  resolve(value: string | boolean): void;
  reject(error: Error): void;
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
  /** In order of arrival: the first one is what the thread works on. */
  const waiting = new Map<number, WaitingJob>();
  let last = 0;
  let pause = pauseMs;
  let closing = false;
  let restartTimer: NodeJS.Timeout | undefined;
  /** Undefined between the end of a thread and the start of the next one. */
  let worker: Worker | undefined;

  function startWorker(): void {
    restartTimer = undefined;
    const thread = startThread(options);
    worker = thread;
    thread.on('message', (done: HashDone) => {
      pause = pauseMs;
      const waitingJob = waiting.get(done.id);
      waiting.delete(done.id);
      waitingJob?.observe();
      if ('error' in done) waitingJob?.reject(new Error(done.error));
      else waitingJob?.resolve(done.value);
      if (waiting.size === 0) thread.unref();
    });
    thread.on('error', (error) =>
      log?.error({ unit: 'passwords', err: error }, 'the thread that hashes passwords failed'),
    );
    thread.on('exit', threadEnded);
    for (const { job } of waiting.values()) thread.postMessage(job);
    if (waiting.size === 0) thread.unref();
  }

  /** The next thread tries again what this one worked on. Jobs behind it just wait. */
  function threadEnded(): void {
    worker = undefined;
    if (closing) return;
    log?.error(
      { unit: 'passwords', waiting: waiting.size },
      'the thread that hashes passwords ended; another one is started',
    );
    const [[id, current] = []] = waiting;
    if (id !== undefined && current && ++current.endedThreads >= maxEnded) {
      waiting.delete(id);
      current.reject(unavailable('the password could not be checked; try again', 1_000));
    }
    restartTimer = setTimeout(startWorker, pause);
    if (waiting.size === 0) restartTimer.unref();
    pause = Math.min(2 * pause, maxPauseMs);
  }
  startWorker();

  function enqueue(password: string, stored?: string): Promise<string | boolean> {
    if (waiting.size >= config.PASSWORD_QUEUE_MAX)
      return Promise.reject(unavailable('too many log-ins at once; try again', 2_000));
    return new Promise((resolve, reject) => {
      const job: HashJob = { id: ++last, password: password.normalize('NFKC'), stored };
      waiting.set(job.id, { job, endedThreads: 0, resolve, reject, observe: metrics.passwords.startTimer() });
      restartTimer?.ref();
      worker?.ref();
      worker?.postMessage(job);
    });
  }
  const hash = (password: string): Promise<string> => enqueue(password) as Promise<string>;
  /** Compared with when there is no stored hash, so that the time does not tell. */
  const dummyHash = await hash(randomBytes(32).toString('hex'));

  return {
    hash,
    async verify(stored, password) {
      const matches = (await enqueue(password, stored ?? dummyHash)) as boolean;
      return matches && stored != null;
    },
    isStale(stored) {
      const { algorithm, memoryCost, timeCost, parallelism } = parseOptions(stored);
      const wanted = [options.algorithm, options.memoryCost, options.timeCost, options.parallelism];
      return [algorithm, memoryCost, timeCost, parallelism].some((value, i) => value !== wanted[i]);
    },
    async close() {
      closing = true;
      clearTimeout(restartTimer);
      await worker?.terminate();
      for (const { reject } of waiting.values()) reject(unavailable('the server is stopping', 1_000));
      waiting.clear();
    },
  };
}
