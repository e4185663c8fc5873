/**
 * Removes old entries from LOG, and only such that history, fanout and events have all acknowledged: the stream itself has
 * no maximum age, since it would forget what a worker that was away has not read. The last entry of a partition always
 * stays: it says where the partition ends.
 */

import type { NatsConnection } from 'nats';
import type { Logger } from 'pino';
import { Backoff } from '../../nats/backoff.ts';
import { jetstreamManager } from '../../nats/jetstream-manager.ts';
import { readDirectBatch, readLogHead } from '../../nats/log-reader.ts';
import { consumer, LOG, subject } from '../../nats/topology.ts';

export interface TrimOptions {
  partitions: number;
  /** Entries younger than this stay, ms. */
  retentionMs: number;
  /** How often is looked, ms. */
  everyMs?: number;
  log: Logger;
}
const READERS = [consumer.history, consumer.fanout, consumer.events];

export class LogTrimmer {
  readonly #nc: NatsConnection;
  readonly #o: TrimOptions;
  readonly #timer: NodeJS.Timeout;
  readonly #failures = new Backoff(1_000, 60_000);
  #running: Promise<void> | undefined;

  constructor(nc: NatsConnection, options: TrimOptions) {
    this.#nc = nc;
    this.#o = options;
    this.#timer = setInterval(() => void this.trimNow(), options.everyMs ?? 60_000).unref();
  }

  async close(): Promise<void> {
    clearInterval(this.#timer);
    await this.#running;
  }

  /** Looks at each partition once; resolves when the look that is under way has ended. */
  trimNow(): Promise<void> {
    this.#running ??= this.#round()
      .then(() => this.#failures.reset())
      .catch((error: unknown) => {
        const { shouldLog } = this.#failures.recordFailure();
        if (shouldLog) this.#o.log.warn({ unit: 'trim', reason: String(error) }, 'old entries of LOG stay for now');
      })
      .finally(() => {
        this.#running = undefined;
      });
    return this.#running;
  }

  async #round(): Promise<void> {
    if (this.#nc.isClosed()) return;
    const manager = await jetstreamManager(this.#nc);
    for (let partition = 0; partition < this.#o.partitions; partition++) {
      const { head } = await readLogHead(this.#nc, partition);
      if (head === 0) continue;
      let seq = head;
      for (const durable of READERS) {
        const { num_pending, num_ack_pending, ack_floor } = await manager.consumers.info(LOG, durable(partition));
        // With nothing to do it has read all that was there before it was asked.
        if (num_pending + num_ack_pending > 0) seq = Math.min(seq, ack_floor.stream_seq + 1);
      }
      seq = Math.min(seq, await this.#firstYoung(partition));
      if (seq > 1) await manager.streams.purge(LOG, { filter: subject.log(partition), seq });
    }
  }

  /** The first entry of the partition that is too young to go. */
  async #firstYoung(partition: number): Promise<number> {
    const manager = await jetstreamManager(this.#nc);
    const start_time = new Date(Date.now() - this.#o.retentionMs);
    const query = { start_time, next_by_subj: subject.log(partition), batch: 1 };
    for await (const { seq } of readDirectBatch(manager, LOG, query)) return seq;
    return Number.MAX_SAFE_INTEGER;
  }
}
