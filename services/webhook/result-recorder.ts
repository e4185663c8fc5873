/**
 * Batches the results of attempts: what ended while one transaction was under way is written by the next one. While Postgres
 * is away results wait here and keep their slots, so the number of results in memory is bounded by WEBHOOK_CONCURRENCY.
 */
import { sleep } from '../../shared/async/sleep.ts';
import type { Context } from '../../shared/service.ts';
import { type AttemptResult, recordAttempts } from './attempt-results.ts';

const RETRY_MS = 200;
/** Results of one transaction. */
const BATCH = 500;

interface ResultRecorderOptions {
  context: Pick<Context, 'db' | 'config' | 'log' | 'metrics'>;
  /** Called for each result once it is written. */
  onRecorded(result: AttemptResult): void;
  /** Called after each transaction: slots are free, and retries or ordered deliveries may be due. */
  onBatch(): void;
}

export class ResultRecorder {
  readonly #options: ResultRecorderOptions;
  readonly #waiting = new Map<AttemptResult, () => void>();
  #results: AttemptResult[] = [];
  #recording: Promise<void> | undefined;
  #isClosing = false;

  constructor(options: ResultRecorderOptions) {
    this.#options = options;
  }

  /** Resolves when the result is written, or given up by `close`. */
  record(result: AttemptResult): Promise<void> {
    return new Promise((resolve) => {
      this.#results.push(result);
      this.#waiting.set(result, resolve);
      this.#recording ??= this.#run().finally(() => {
        this.#recording = undefined;
      });
    });
  }

  /** From now on results that cannot be written at once are given up. */
  beginClose(): void {
    this.#isClosing = true;
  }

  async close(): Promise<void> {
    this.#isClosing = true;
    await this.#recording;
  }

  async #run(): Promise<void> {
    const { db, config, log, metrics } = this.#options.context;
    while (this.#results.length) {
      const results = this.#results.splice(0, BATCH);
      try {
        const { dead, disabled } = await recordAttempts(db, config, results);
        for (const id of disabled) log.warn({ unit: 'webhook', endpoint_id: id }, 'endpoint disabled');
        for (const { outcome } of dead) metrics.dead.inc({ stage: 'webhook', reason: outcome.error ?? 'failed' });
      } catch (error) {
        this.#results.unshift(...results);
        log.warn({ unit: 'webhook', results: results.length, err: error }, 'results of attempts cannot be written yet');
        await sleep(RETRY_MS);
        if (this.#isClosing) return this.#giveUp();
        continue;
      }
      for (const result of results) {
        this.#options.onRecorded(result);
        this.#settle(result);
      }
      this.#options.onBatch();
    }
  }

  /** The deliveries count as never attempted: they are due when their claims end. */
  #giveUp(): void {
    for (const result of this.#results) this.#settle(result);
    this.#results = [];
  }

  #settle(result: AttemptResult): void {
    this.#waiting.get(result)?.();
    this.#waiting.delete(result);
  }
}
