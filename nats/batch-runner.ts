/**
 * What becomes of a batch: handled, tried again, or dead. `decode` that threw makes a dead letter at once; `handle` that
 * throws is tried again: for ever while an engine is out of reach or out of room, else five times, then entry by entry,
 * and what still fails is a dead letter.
 */
import { headers, type Msg, type NatsConnection } from 'nats';
import type { Logger } from 'pino';
import type { Metrics } from '../shared/metrics.ts';
import { isTransient } from '../shared/transient.ts';
import { Backoff } from './backoff.ts';
import { timeoutsOf } from './jetstream-manager.ts';
import { subject } from './topology.ts';

export interface Delivered<T> {
  value: T;
  data: Uint8Array;
  /** Stream sequence. */
  seq: number;
  /** When the stream stored it, ms since 1970. */
  at: number;
  reply: string;
}
export interface Entry<T> extends Delivered<T> {
  /** Why it can't be decoded, until it is a dead letter. */
  poison?: Error | undefined;
  dead?: true;
}
/** Decodes a delivery; one that can't be decoded becomes poison with the reason. */
export function entryOf<T>(
  { data, reply }: Msg,
  { seq, at }: { seq: number; at: number },
  decode: (data: Uint8Array) => T,
): Entry<T> {
  const entry: Entry<T> = { value: undefined as T, data, seq, at, reply: reply! };
  try {
    entry.value = decode(data);
  } catch (error) {
    entry.poison = error as Error;
  }
  return entry;
}
export function acknowledge(nc: NatsConnection, batch: Delivered<unknown>[]): void {
  for (const { reply } of batch) nc.publish(reply, '+ACK');
}
export interface Handling<T> {
  stage: string;
  partition: number;
  stream: string;
  log: Logger;
  metrics: Metrics;
  /** `fence` rejects once the partition may be another process's: to be awaited before what that one must not see. */
  handle(batch: Delivered<T>[], fence: Fence): Promise<void>;
}
export type Fence = () => Promise<void>;
/** The partition is another process's now, or nobody knows. */
export class PinLost extends Error {
  override name = 'Lost';
}

/** Thrown by `handle`: what is in memory can't be trusted any more, take over again. Nothing is acknowledged. */
export class RestoreRequired extends Error {}

/**
 * Thrown by `handle` and `takeOver`: to go on would lose or falsify something, and trying again does not help. The
 * partition stops: nothing is acknowledged, its position stays, `/ready` says why until somebody has mended it and
 * started the service again. `letter`: what was met is put down as a dead letter, once.
 */
export class Halt extends Error {
  override name = 'Halt';
  readonly letter: boolean;

  constructor(reason: string, { letter = true } = {}) {
    super(reason);
    this.letter = letter;
  }
}

const TRIES = 5;
export const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

export class BatchRunner<T> {
  readonly #nc: NatsConnection;
  readonly #o: Handling<T>;
  /** Failures since a batch was last finished, over retakes too. */
  readonly #failures = new Backoff(50, 2_000);
  #reason = '';
  /** How long to wait before the partition is taken again. */
  retakeWaitMs = 0;

  constructor(nc: NatsConnection, options: Handling<T>) {
    this.#nc = nc;
    this.#o = options;
  }

  /** Since when no batch was finished because each attempt failed (ms since 1970), and why the last one did. */
  get failing(): { since: number; reason: string } | undefined {
    const { since } = this.#failures;
    return since === undefined ? undefined : { since, reason: this.#reason };
  }

  /** The partition is another process's now. */
  forget(): void {
    this.#failures.succeed();
  }

  /** True once the whole batch may be acknowledged; false when `current()` no longer holds. @throws {RestoreRequired | Halt} */
  async run(batch: Entry<T>[], current: () => boolean, fence: Fence): Promise<boolean> {
    for (let tries = 1; current(); ) {
      try {
        for (const { poison } of batch) if (poison instanceof Halt) throw poison;
        for (const entry of batch) if (entry.poison) await this.#bury(entry, entry.poison);
        const sound = batch.filter(({ dead }) => !dead);
        if (sound.length) await this.#o.handle(sound, fence);
        this.#failures.succeed();
        return true;
      } catch (error) {
        if (error instanceof PinLost && !current()) return false;
        const { stage, partition, log } = this.#o;
        if (error instanceof Halt) {
          // What lies before it is still good.
          if (batch.length > 1) return await this.#oneByOne(batch, current, fence);
          if (error.letter) await this.#putDown(batch[0]!, error, current);
          throw error;
        }
        const { waitMs, say } = this.#failures.fail();
        const failures = this.#failures.count;
        this.#reason = (error as Error).message;
        if (say) log.warn({ stage, partition, entries: batch.length, failures, err: error }, 'batch failed');
        if (error instanceof RestoreRequired) {
          this.retakeWaitMs = waitMs;
          throw error;
        }
        if (error instanceof PinLost || isTransient(error)) tries = 1;
        else if (++tries > TRIES) {
          if (batch.length > 1) return await this.#oneByOne(batch, current, fence);
          batch[0]!.poison = error as Error;
          tries = 1;
        }
        await pause(waitMs);
      }
    }
    return false;
  }

  async #oneByOne(batch: Entry<T>[], current: () => boolean, fence: Fence): Promise<boolean> {
    for (const entry of batch) if (!(await this.run([entry], current, fence))) return false;
    return true;
  }

  /** The letter of a partition that stops; it is tried until it stands. */
  async #putDown(entry: Entry<T>, error: Error, current: () => boolean): Promise<void> {
    while (current()) {
      try {
        return await this.#send(entry, error);
      } catch (reason) {
        const { waitMs, say } = this.#failures.fail();
        if (say) this.#o.log.warn({ stage: this.#o.stage, reason: String(reason) }, 'a dead letter waits');
        await pause(waitMs);
      }
    }
  }

  async #bury(entry: Entry<T>, error: Error): Promise<void> {
    await this.#send(entry, error);
    entry.poison = undefined;
    entry.dead = true;
  }

  async #send(entry: Entry<T>, error: Error): Promise<void> {
    const { stage, partition, stream } = this.#o;
    const about = headers();
    about.set('Sealwire-Stage', stage);
    about.set('Sealwire-Reason', error.message.slice(0, 200).replaceAll(/[^ -~]/g, '?'));
    about.set('Sealwire-Origin', `${stream}.${entry.seq}`);
    // A worker that is started again at once puts the same one down.
    about.set('Nats-Msg-Id', `${stage} ${stream}.${entry.seq}`);
    const stored = await this.#nc.request(subject.dead(stage), entry.data, {
      headers: about,
      timeout: timeoutsOf(this.#nc).requestMs,
    });
    if ((stored.json() as { error?: unknown }).error) throw new Error('the dead letter could not be stored');
    this.#o.metrics.dead.inc({ stage, reason: error.name });
    this.#o.log.error({ stage, partition, origin: `${stream}.${entry.seq}`, reason: error.message }, 'dead letter');
  }
}
