/** Queues passwords for the thread that hashes them, and starts another thread when that one ends. */
import type { Worker } from 'node:worker_threads';
import type { Options } from '@node-rs/argon2';
import type { Logger } from 'pino';
import { ApiError } from '../../../shared/contract/errors.ts';
import type { HashDone, HashJob } from './hash-worker.ts';

interface WaitingJob {
  job: HashJob;
  /** Threads that ended while they worked on it. */
  endedThreads: number;
  /** Records the time in the metrics. */
  observe(): void;
  resolve(value: string | boolean): void;
  reject(error: Error): void;
}
interface HashQueueOptions {
  /** Parameters of Argon2, which the thread is started with. */
  argon2: Options;
  /** Jobs beyond this number are refused. */
  maxWaiting: number;
  log: Pick<Logger, 'error'> | undefined;
  startThread: (options: Options) => Worker;
  startTimer: () => () => void;
  maxEnded: number;
  pauseMs: number;
  maxPauseMs: number;
}

const unavailable = (message: string, retry_after_ms: number): ApiError =>
  new ApiError('unavailable', message, { retry_after_ms });

export class HashQueue {
  readonly #options: HashQueueOptions;
  /** In order of arrival: the first one is what the thread works on. */
  readonly #waiting = new Map<number, WaitingJob>();
  #lastId = 0;
  #pauseMs: number;
  #isClosing = false;
  #restartTimer: NodeJS.Timeout | undefined;
  /** Undefined between the end of a thread and the start of the next one. */
  #thread: Worker | undefined;

  constructor(options: HashQueueOptions) {
    this.#options = options;
    this.#pauseMs = options.pauseMs;
    this.#start();
  }

  /** Hashes the password, or compares it with `stored`. @throws {ApiError} `unavailable` when too many passwords wait */
  run(password: string, stored?: string): Promise<string | boolean> {
    if (this.#waiting.size >= this.#options.maxWaiting)
      return Promise.reject(unavailable('too many log-ins at once; try again', 2_000));
    return new Promise((resolve, reject) => {
      const job: HashJob = { id: ++this.#lastId, password: password.normalize('NFKC'), stored };
      this.#waiting.set(job.id, { job, endedThreads: 0, resolve, reject, observe: this.#options.startTimer() });
      this.#restartTimer?.ref();
      this.#thread?.ref();
      this.#thread?.postMessage(job);
    });
  }

  async close(): Promise<void> {
    this.#isClosing = true;
    clearTimeout(this.#restartTimer);
    await this.#thread?.terminate();
    for (const { reject } of this.#waiting.values()) reject(unavailable('the server is stopping', 1_000));
    this.#waiting.clear();
  }

  /** The thread keeps the process alive only while a password waits. */
  #start(): void {
    this.#restartTimer = undefined;
    const thread = this.#options.startThread(this.#options.argon2);
    this.#thread = thread;
    thread.on('message', (done: HashDone) => this.#finish(thread, done));
    thread.on('error', (error) =>
      this.#options.log?.error({ unit: 'passwords', err: error }, 'the thread that hashes passwords failed'),
    );
    thread.on('exit', () => this.#threadEnded());
    for (const { job } of this.#waiting.values()) thread.postMessage(job);
    if (this.#waiting.size === 0) thread.unref();
  }

  #finish(thread: Worker, done: HashDone): void {
    this.#pauseMs = this.#options.pauseMs;
    const waiting = this.#waiting.get(done.id);
    this.#waiting.delete(done.id);
    waiting?.observe();
    if ('error' in done) waiting?.reject(new Error(done.error));
    else waiting?.resolve(done.value);
    if (this.#waiting.size === 0) thread.unref();
  }

  /** The next thread tries again what this one worked on. Jobs behind it just wait. */
  #threadEnded(): void {
    const { log, maxEnded, maxPauseMs } = this.#options;
    this.#thread = undefined;
    if (this.#isClosing) return;
    log?.error(
      { unit: 'passwords', waiting: this.#waiting.size },
      'the thread that hashes passwords ended; another one is started',
    );
    const [[id, current] = []] = this.#waiting;
    if (id !== undefined && current && ++current.endedThreads >= maxEnded) {
      this.#waiting.delete(id);
      current.reject(unavailable('the password could not be checked; try again', 1_000));
    }
    this.#restartTimer = setTimeout(() => this.#start(), this.#pauseMs);
    if (this.#waiting.size === 0) this.#restartTimer.unref();
    this.#pauseMs = Math.min(2 * this.#pauseMs, maxPauseMs);
  }
}
