/** Passwords as Argon2id, hashed on a thread of their own one after another. */
import { randomBytes } from 'node:crypto';
import { Worker } from 'node:worker_threads';
import { type Algorithm, type Options, parseOptions } from '@node-rs/argon2';
import type { Logger } from 'pino';
import type { Config } from '../../../shared/config/index.ts';
import { ApiError } from '../../../shared/contract/errors.ts';
import type { Metrics } from '../../../shared/metrics.ts';
import type { HashDone, HashJob } from './hash-worker.ts';

export interface Passwords {
  /** A PHC string, `$argon2id$…`. @throws {ApiError} `unavailable` when too many wait. */
  hash(password: string): Promise<string>;
  /** Takes the same time whether there is a hash to compare with or not. @throws {ApiError} as `hash` */
  verify(stored: string | null | undefined, password: string): Promise<boolean>;
  /** Whether it was made with other parameters than are configured now. */
  isStale(stored: string): boolean;
  close(): Promise<void>;
}
const unavailable = (message: string, retry_after_ms: number): ApiError =>
  new ApiError('unavailable', message, { retry_after_ms });

interface Waiting {
  job: HashJob;
  /** Threads that ended while they were at it. */
  ended: number;
  /** Stops the clock, which counts in the metrics. */
  observe(): void;
  resolve(value: string | boolean): void;
  reject(error: Error): void;
}
export interface PasswordOptions {
  log?: Pick<Logger, 'error'>;
  startThread?: (options: Options) => Worker;
  /** So many threads may end over one password; then it is given up, for it may be what ends them. */
  maxEnded?: number;
  /** The pause before a new thread, ms; twice as long each time that a thread ends without having hashed anything. */
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
    // A const enum, which a runtime without a build can't import: 2 is Argon2id.
    algorithm: 2 as Algorithm.Argon2id,
    memoryCost: config.ARGON2_MEMORY_KIB,
    timeCost: config.ARGON2_PASSES,
    parallelism: 1,
  };
  /** In the order in which they came: the first one is what the thread has in hand. */
  const waiting = new Map<number, Waiting>();
  let last = 0;
  let pause = pauseMs;
  let closing = false;
  let again: NodeJS.Timeout | undefined;
  /** Undefined between the end of a thread and the start of the next one. */
  let worker: Worker | undefined;

  function start(): void {
    again = undefined;
    const thread = startThread(options);
    worker = thread;
    thread.on('message', (done: HashDone) => {
      pause = pauseMs;
      const one = waiting.get(done.id);
      waiting.delete(done.id);
      one?.observe();
      if ('error' in done) one?.reject(new Error(done.error));
      else one?.resolve(done.value);
      if (waiting.size === 0) thread.unref();
    });
    thread.on('error', (error) =>
      log?.error({ unit: 'passwords', err: error }, 'the thread that hashes passwords failed'),
    );
    thread.on('exit', ended);
    for (const { job } of waiting.values()) thread.postMessage(job);
    if (waiting.size === 0) thread.unref();
  }

  /** What the thread had in hand is tried by the next one, what waited behind it is not touched by this. */
  function ended(): void {
    worker = undefined;
    if (closing) return;
    log?.error(
      { unit: 'passwords', waiting: waiting.size },
      'the thread that hashes passwords has ended; another one is started',
    );
    const [[id, inHand] = []] = waiting;
    if (id !== undefined && inHand && ++inHand.ended >= maxEnded) {
      waiting.delete(id);
      inHand.reject(unavailable('the password could not be checked; try again', 1_000));
    }
    again = setTimeout(start, pause);
    if (waiting.size === 0) again.unref();
    pause = Math.min(2 * pause, maxPauseMs);
  }
  start();

  function ask(password: string, stored?: string): Promise<string | boolean> {
    if (waiting.size >= config.PASSWORD_QUEUE_MAX)
      return Promise.reject(unavailable('too many log-ins at once', 2_000));
    return new Promise((resolve, reject) => {
      const job: HashJob = { id: ++last, password: password.normalize('NFKC'), stored };
      waiting.set(job.id, { job, ended: 0, resolve, reject, observe: metrics.passwords.startTimer() });
      again?.ref();
      worker?.ref();
      worker?.postMessage(job);
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
    isStale(stored) {
      const { algorithm, memoryCost, timeCost, parallelism } = parseOptions(stored);
      const wanted = [options.algorithm, options.memoryCost, options.timeCost, options.parallelism];
      return [algorithm, memoryCost, timeCost, parallelism].some((value, i) => value !== wanted[i]);
    },
    async close() {
      closing = true;
      clearTimeout(again);
      await worker?.terminate();
      for (const { reject } of waiting.values()) reject(unavailable('the server is stopping', 1_000));
      waiting.clear();
    },
  };
}
