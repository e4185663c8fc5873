/**
 * Removes old entries from LOG that history, fanout and events have all acknowledged. The stream itself has no maximum age,
 * since the broker would then remove entries that a worker which was away has not read. The last entry of a partition always
 * stays: it says where the partition ends.
 */
import type { NatsConnection } from 'nats';
import type { Logger } from 'pino';
import { Backoff } from '../../nats/backoff.ts';
import { jetstreamManager } from '../../nats/jetstream-manager.ts';
import { readDirectBatch, readLogHead } from '../../nats/log-reader.ts';
import { consumer, LOG, subject } from '../../nats/topology.ts';
import { type PeriodicTask, startPeriodicTask } from '../../shared/async/periodic-task.ts';

export interface TrimOptions {
  partitions: number;
  /** Entries younger than this stay, ms. */
  retentionMs: number;
  /** Interval at which entries are removed, ms. */
  everyMs?: number;
  log: Logger;
}
const READERS = [consumer.history, consumer.fanout, consumer.events];

export class LogTrimmer {
  readonly #nc: NatsConnection;
  readonly #o: TrimOptions;
  readonly #task: PeriodicTask;
  readonly #failures = new Backoff(1_000, 60_000);

  constructor(nc: NatsConnection, options: TrimOptions) {
    this.#nc = nc;
    this.#o = options;
    this.#task = startPeriodicTask(() => this.#trimAll(), {
      everyMs: options.everyMs ?? 60_000,
      onError: (error) => {
        const { shouldLog } = this.#failures.recordFailure();
        if (shouldLog)
          options.log.warn({ unit: 'trim', reason: String(error) }, 'old entries of LOG could not be removed');
      },
    });
  }

  close(): Promise<void> {
    return this.#task.close();
  }

  /** Trims each partition once; a call during a run shares that run. Never rejects: errors are logged. */
  trimNow(): Promise<void> {
    return this.#task.run();
  }

  async #trimAll(): Promise<void> {
    if (this.#nc.isClosed()) return;
    const manager = await jetstreamManager(this.#nc);
    for (let partition = 0; partition < this.#o.partitions; partition++) {
      const { head } = await readLogHead(this.#nc, partition);
      if (head === 0) continue;
      let seq = head;
      for (const durable of READERS) {
        const { num_pending, num_ack_pending, ack_floor } = await manager.consumers.info(LOG, durable(partition));
        // A consumer with nothing pending has read all that the log held before it was asked.
        if (num_pending + num_ack_pending > 0) seq = Math.min(seq, ack_floor.stream_seq + 1);
      }
      seq = Math.min(seq, await this.#firstYoungEntry(partition));
      if (seq > 1) await manager.streams.purge(LOG, { filter: subject.log(partition), seq });
    }
    this.#failures.reset();
  }

  /** Returns the first entry of the partition that is too young to be removed. */
  async #firstYoungEntry(partition: number): Promise<number> {
    const manager = await jetstreamManager(this.#nc);
    const start_time = new Date(Date.now() - this.#o.retentionMs);
    const query = { start_time, next_by_subj: subject.log(partition), batch: 1 };
    for await (const { seq } of readDirectBatch(manager, LOG, query)) return seq;
    return Number.MAX_SAFE_INTEGER;
  }
}
