/**
 * Runs the handler on a batch and decides what a failure means: another attempt, a dead letter or a stop. `decode` that threw
 * makes a dead letter at once. `handle` that throws is tried again: for ever while an engine is out of reach or out of room,
 * else five times, then message by message; a message that still fails becomes a dead letter.
 */
import type { Msg, NatsConnection } from 'nats';
import type { Logger } from 'pino';
import { sleep } from '../shared/async/sleep.ts';
import type { Metrics } from '../shared/metrics.ts';
import { isTransient } from '../shared/transient.ts';
import { Backoff } from './backoff.ts';
import { storeDeadLetter } from './dead-letter.ts';

/** A message as handlers get it. */
export interface StreamMessage<T> {
  value: T;
  data: Uint8Array;
  /** Stream sequence. */
  seq: number;
  /** When the stream stored it, ms since 1970. */
  at: number;
  /** Acknowledgement subject. */
  reply: string;
}
/** A message and its fate within its batch. */
export interface BatchMessage<T> extends StreamMessage<T> {
  /** Why it can't be decoded or handled, until it is a dead letter. */
  poison?: Error | undefined;
  /** It is a dead letter. */
  dead?: true;
}

/** Decodes a delivery; one that can't be decoded becomes poison with the reason. */
export function decodeMessage<T>(
  { data, reply }: Msg,
  { seq, at }: { seq: number; at: number },
  decode: (data: Uint8Array) => T,
): BatchMessage<T> {
  const message: BatchMessage<T> = { value: undefined as T, data, seq, at, reply: reply! };
  try {
    message.value = decode(data);
  } catch (error) {
    message.poison = error as Error;
  }
  return message;
}

export function acknowledge(nc: NatsConnection, batch: StreamMessage<unknown>[]): void {
  for (const { reply } of batch) nc.publish(reply, '+ACK');
}

export interface BatchRunnerOptions<T> {
  stage: string;
  partition: number;
  stream: string;
  log: Logger;
  metrics: Metrics;
  /** A handler awaits `confirmPin` before any effect that must not happen once another process owns the partition. */
  handle(batch: StreamMessage<T>[], confirmPin: ConfirmPin): Promise<void>;
}
/** @throws {PinLost} when the partition may belong to another process */
export type ConfirmPin = () => Promise<void>;

/** The partition belongs to another process, or the broker did not confirm that it is ours. */
export class PinLost extends Error {
  override name = 'Lost';
}

/** Thrown by `handle` when its memory can't be trusted any more: the partition is restored. Nothing is acknowledged. */
export class RestoreRequired extends Error {}

/**
 * Thrown by `handle` and `restore` when going on would lose or falsify something and another attempt does not help. The
 * partition stops: nothing is acknowledged, its position stays, and `/ready` gives the reason until an operator has mended it
 * and started the service again.
 */
export class HaltRequired extends Error {
  override name = 'Halt';
  /** Whether the message that caused it is stored as a dead letter, once. */
  readonly storesDeadLetter: boolean;

  constructor(reason: string, { storesDeadLetter = true } = {}) {
    super(reason);
    this.storesDeadLetter = storesDeadLetter;
  }
}

const TRIES = 5;

export class BatchRunner<T> {
  readonly #nc: NatsConnection;
  readonly #options: BatchRunnerOptions<T>;
  /** Failures since a batch was last finished; a restore does not reset them. */
  readonly #backoff = new Backoff(50, 2_000);
  #lastReason = '';
  /** Pause before the partition is restored, ms. */
  restoreWaitMs = 0;

  constructor(nc: NatsConnection, options: BatchRunnerOptions<T>) {
    this.#nc = nc;
    this.#options = options;
  }

  /** Since when no batch was finished because each attempt failed (ms since 1970), and why the last one did. */
  get failing(): { since: number; reason: string } | undefined {
    const { failingSince } = this.#backoff;
    return failingSince === undefined ? undefined : { since: failingSince, reason: this.#lastReason };
  }

  /** Forgets the failures: the partition belongs to another process now, or has nothing to do. */
  resetFailures(): void {
    this.#backoff.reset();
  }

  /**
   * Handles a batch until it succeeds or each of its messages is a dead letter.
   * @returns true once the whole batch may be acknowledged; false when `isCurrent()` no longer holds
   * @throws {RestoreRequired | HaltRequired}
   */
  async run(batch: BatchMessage<T>[], isCurrent: () => boolean, confirmPin: ConfirmPin): Promise<boolean> {
    for (let tries = 1; isCurrent(); ) {
      try {
        for (const { poison } of batch) if (poison instanceof HaltRequired) throw poison;
        for (const message of batch) if (message.poison) await this.#deadLetter(message, message.poison);
        const sound = batch.filter(({ dead }) => !dead);
        if (sound.length) await this.#options.handle(sound, confirmPin);
        this.#backoff.reset();
        return true;
      } catch (error) {
        if (error instanceof PinLost && !isCurrent()) return false;
        if (error instanceof HaltRequired) {
          // The messages before the one that halts can still be finished.
          if (batch.length > 1) return await this.#runOneByOne(batch, isCurrent, confirmPin);
          if (error.storesDeadLetter) await this.#storeUntilDone(batch[0]!, error, isCurrent);
          throw error;
        }
        const waitMs = this.#recordFailure(batch.length, error as Error);
        if (error instanceof RestoreRequired) {
          this.restoreWaitMs = waitMs;
          throw error;
        }
        if (error instanceof PinLost || isTransient(error)) tries = 1;
        else if (++tries > TRIES) {
          if (batch.length > 1) return await this.#runOneByOne(batch, isCurrent, confirmPin);
          batch[0]!.poison = error as Error;
          tries = 1;
        }
        await sleep(waitMs);
      }
    }
    return false;
  }

  /** @returns how long to wait before the next attempt, ms */
  #recordFailure(messages: number, error: Error): number {
    const { stage, partition, log } = this.#options;
    const { waitMs, shouldLog } = this.#backoff.recordFailure();
    const { failures } = this.#backoff;
    this.#lastReason = error.message;
    if (shouldLog) log.warn({ stage, partition, entries: messages, failures, err: error }, 'batch failed');
    return waitMs;
  }

  async #runOneByOne(batch: BatchMessage<T>[], isCurrent: () => boolean, confirmPin: ConfirmPin): Promise<boolean> {
    for (const message of batch) if (!(await this.run([message], isCurrent, confirmPin))) return false;
    return true;
  }

  /** Stores the dead letter of a partition that stops; tries until it is stored, so that its reason is not lost. */
  async #storeUntilDone(message: BatchMessage<T>, error: Error, isCurrent: () => boolean): Promise<void> {
    while (isCurrent()) {
      try {
        return await storeDeadLetter(this.#nc, this.#options, message, error);
      } catch (reason) {
        const { waitMs, shouldLog } = this.#backoff.recordFailure();
        if (shouldLog)
          this.#options.log.warn(
            { stage: this.#options.stage, reason: String(reason) },
            'a dead letter could not be stored, trying again',
          );
        await sleep(waitMs);
      }
    }
  }

  async #deadLetter(message: BatchMessage<T>, error: Error): Promise<void> {
    await storeDeadLetter(this.#nc, this.#options, message, error);
    message.poison = undefined;
    message.dead = true;
  }
}
