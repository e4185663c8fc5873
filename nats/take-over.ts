/**
 * Takes a partition over: restores the worker's memory, then resets the durable, so that what the last owner had not
 * acknowledged is delivered again, in stream order.
 */
import type { Msg, NatsConnection } from 'nats';
import type { Logger } from 'pino';
import { sleep } from '../shared/async/sleep.ts';
import { Backoff } from './backoff.ts';
import { type Durable, RETRY_CAP_MS, resetDurable } from './durable.ts';

export interface TakeOverOptions extends Durable {
  /**
   * Called when this process has become the only owner.
   * @returns the stream sequence to go on from; undefined for the ack floor
   */
  restore(): Promise<number | undefined>;
}
export interface TakenOver {
  /** Number of the next delivery, and the stream sequence that it begins at. */
  delivery: number;
  seq: number;
  /** Everything before `seq` is known to have been read. */
  known: boolean;
  /** Deliveries that came while the answer to the reset was on its way. */
  early: Msg[];
}

export class TakeOver {
  readonly #nc: NatsConnection;
  readonly #options: TakeOverOptions;
  readonly #log: Logger;
  readonly #backoff = new Backoff(200, RETRY_CAP_MS);
  #early: Msg[] | undefined;

  constructor(nc: NatsConnection, options: TakeOverOptions, log: Logger) {
    this.#nc = nc;
    this.#options = options;
    this.#log = log;
  }

  /** Since when each attempt has failed (ms since 1970); undefined where the last one succeeded. */
  get failing(): { since: number; reason: string } | undefined {
    const { failingSince } = this.#backoff;
    return failingSince === undefined ? undefined : { since: failingSince, reason: 'the partition cannot be taken' };
  }

  /** Keeps a delivery that came before the answer to the reset. One from before the reset is delivered again. */
  keepEarly(message: Msg): void {
    this.#early?.push(message);
  }

  /** One attempt. @throws what `restore` or the broker throws */
  async run(): Promise<TakenOver> {
    const from = await this.#options.restore();
    const early: Msg[] = [];
    this.#early = early;
    // `early` takes deliveries until the caller goes on with them: one may come before this promise has resolved.
    const { delivery, seq } = await resetDurable(this.#nc, this.#options, from);
    // A durable of which nothing was ever read may begin where the stream begins now.
    return { delivery, seq, known: from !== undefined || seq > 1, early };
  }

  /** The partition was taken over, or another process owns it: the next failure counts as the first. */
  resetFailures(): void {
    this.#backoff.reset();
  }

  /** Logs a failed attempt and resolves when the next one may begin. */
  async waitAfter(error: unknown): Promise<void> {
    const { waitMs, shouldLog } = this.#backoff.recordFailure();
    const tries = this.#backoff.failures;
    if (shouldLog) this.#log.warn({ tries, reason: String(error) }, 'partition could not be taken, trying again');
    await sleep(waitMs);
  }
}
