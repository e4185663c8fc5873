/**
 * Writes one partition of LOG into Postgres. Everything that waited is one transaction, which also moves the position: an entry
 * is in the projection exactly once, whatever process dies when.
 */
import type { NatsConnection } from 'nats';
import type { Logger } from 'pino';
import { readLogHead } from '../../nats/log-reader.ts';
import { HaltRequired, RestoreRequired, type StreamMessage } from '../../nats/partition-consumer.ts';
import { subject } from '../../nats/topology.ts';
import type { Database } from '../../shared/db/database.ts';
import type { Metrics } from '../../shared/metrics.ts';
import type { LogRecord } from '../../shared/pipeline/entry.ts';
import { Conflict } from './conflicts.ts';
import { collectRows, emptyRows, type Rows } from './projections.ts';
import { type Position, PositionMoved, readPosition, writeRows } from './store.ts';

export interface HistoryWorkerOptions {
  nc: NatsConnection;
  db: Database;
  log: Logger;
  metrics: Metrics;
}

export class HistoryWorker {
  readonly #partition: number;
  readonly #o: HistoryWorkerOptions;
  #position: Position = { entry_seq: 0, stream: '' };

  constructor(partition: number, options: HistoryWorkerOptions) {
    this.#partition = partition;
    this.#o = options;
  }

  /** This process became the only one to write the partition. @returns the entry to begin at */
  async restore(): Promise<number> {
    const { nc, db, log } = this.#o;
    const { head, last, created } = await readLogHead(nc, this.#partition);
    this.#position = (await readPosition(db.query, this.#partition)) ?? { entry_seq: 0, stream: '' };
    const { entry_seq, stream } = this.#position;
    // A position beyond the partition's head, where its entries were removed for their age, still counts in this log.
    if (stream === created && entry_seq <= last) return entry_seq + 1;
    // No entry of a log that was made again is written. Of a log that lost its end, all that it still holds are.
    const start = { entry_seq: stream === created ? head : 0, stream: created };
    await writeRows(db, this.#partition, this.#position, start, emptyRows());
    if (stream)
      log.warn(
        { stage: 'history', partition: this.#partition, was: entry_seq, head },
        'the log was made again or lost its end',
      );
    this.#position = start;
    return start.entry_seq + 1;
  }

  async handle(batch: StreamMessage<LogRecord[]>[]): Promise<void> {
    const { nc, db } = this.#o;
    const entries = batch.filter(({ seq }) => seq > this.#position.entry_seq);
    if (!entries.length) return;
    const rows = emptyRows();
    for (const { value } of entries) collectRows(value, rows);
    const position = { entry_seq: entries.at(-1)!.seq, stream: this.#position.stream };
    try {
      await writeRows(db, this.#partition, this.#position, position, rows);
    } catch (error) {
      // The log holds two records for one place. Only an operator can say which one is right.
      if (error instanceof Conflict) throw new HaltRequired(error.message);
      if (error instanceof PositionMoved) throw new RestoreRequired(error.message);
      throw error;
    }
    this.#position = position;
    nc.publish(subject.projected(this.#partition), JSON.stringify({ entry_seq: position.entry_seq }));
    this.#count(entries, rows);
  }

  #count(entries: StreamMessage<LogRecord[]>[], rows: Rows): void {
    const { metrics } = this.#o;
    metrics.records.inc(
      { stage: 'history', outcome: 'ok' },
      rows.messages.length + rows.conversations.length + rows.reads.length + rows.payments.length,
    );
    metrics.batch.observe(
      { stage: 'history' },
      entries.reduce((sum, { value }) => sum + value.length, 0),
    );
  }
}
