/**
 * What becomes of a batch: handled, tried again, or dead. `decode` that threw makes a dead letter at once; `handle` that
 * throws is tried again: for ever while an engine is out of reach or out of room, else five times, then entry by entry,
 * and what still fails is a dead letter.
 */
import { headers, type NatsConnection } from 'nats';
import type { Logger } from 'pino';
import type { Metrics } from '../shared/metrics.ts';
import { isOutage } from '../shared/outage.ts';
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
export interface Handling<T> {
  stage: string;
  partition: number;
  stream: string;
  log: Logger;
  metrics: Metrics;
  handle(batch: Delivered<T>[]): Promise<void>;
}

/** Thrown by `handle`: what is in memory can't be trusted any more, take over again. Nothing is acknowledged. */
export class Retake extends Error {}

const TRIES = 5;
export const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

export class Attempts<T> {
  readonly #nc: NatsConnection;
  readonly #o: Handling<T>;

  constructor(nc: NatsConnection, options: Handling<T>) {
    this.#nc = nc;
    this.#o = options;
  }

  /** True once the whole batch may be acknowledged; false when `current()` no longer holds. @throws {Retake} */
  async run(batch: Entry<T>[], current: () => boolean): Promise<boolean> {
    for (let tries = 1; current(); ) {
      try {
        for (const entry of batch) if (entry.poison) await this.#bury(entry, entry.poison);
        const sound = batch.filter(({ dead }) => !dead);
        if (sound.length) await this.#o.handle(sound);
        return true;
      } catch (error) {
        const { stage, partition, log } = this.#o;
        log.warn({ stage, partition, entries: batch.length, tries, err: error }, 'batch failed');
        if (error instanceof Retake) throw error;
        if (isOutage(error)) tries = 1;
        else if (++tries > TRIES) {
          if (batch.length > 1) return await this.#oneByOne(batch, current);
          batch[0]!.poison = error as Error;
          tries = 1;
        }
        await pause(Math.min(2_000, 50 * 2 ** tries));
      }
    }
    return false;
  }

  async #oneByOne(batch: Entry<T>[], current: () => boolean): Promise<boolean> {
    for (const entry of batch) if (!(await this.run([entry], current))) return false;
    return true;
  }

  async #bury(entry: Entry<T>, error: Error): Promise<void> {
    const { stage, partition, stream } = this.#o;
    const about = headers();
    about.set('Sealwire-Stage', stage);
    about.set('Sealwire-Reason', error.message.slice(0, 200).replaceAll(/[^ -~]/g, '?'));
    about.set('Sealwire-Origin', `${stream}.${entry.seq}`);
    const stored = await this.#nc.request(subject.dead(stage), entry.data, { headers: about, timeout: 5_000 });
    if ((stored.json() as { error?: unknown }).error) throw new Error('the dead letter could not be stored');
    this.#o.metrics.dead.inc({ stage, reason: error.name });
    this.#o.log.error({ stage, partition, origin: `${stream}.${entry.seq}`, reason: error.message }, 'dead letter');
    entry.poison = undefined;
    entry.dead = true;
  }
}
