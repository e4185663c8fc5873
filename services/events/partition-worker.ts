/**
 * Publishes the events of one partition of LOG, each once and in order: a message of EVENTS says up to which entry it goes,
 * and is accepted only directly after the partition's last message that this worker knows.
 */
import type { NatsConnection } from 'nats';
import { readLogHead } from '../../nats/log-reader.ts';
import { RestoreRequired, type StreamMessage } from '../../nats/partition-consumer.ts';
import { PublishError, type Publisher } from '../../nats/publisher.ts';
import { subject } from '../../nats/topology.ts';
import type { Metrics } from '../../shared/metrics.ts';
import type { LogRecord } from '../../shared/pipeline/entry.ts';
import { encodeLines } from '../../shared/pipeline/events.ts';
import { eventLines } from './handle.ts';
import { type EventPosition, positionHeaders, readEventPosition } from './store.ts';

export interface EventWorkerOptions {
  nc: NatsConnection;
  publisher: Publisher;
  /** Events of one message of EVENTS at most. */
  maxPerMessage: number;
  metrics: Metrics;
}

export class EventWorker {
  readonly #partition: number;
  readonly #o: EventWorkerOptions;
  #position: EventPosition = { lastSeq: 0, entry: 0, log: '' };
  /** Events that are not published yet. */
  #lines: string[] = [];

  constructor(partition: number, options: EventWorkerOptions) {
    this.#partition = partition;
    this.#o = options;
  }

  /** This process became the only one to publish. @returns the entry to begin at; undefined: the consumer's own position */
  async restore(): Promise<number | undefined> {
    const { nc } = this.#o;
    const { head, last, created } = await readLogHead(nc, this.#partition);
    const found = await readEventPosition(nc, this.#partition);
    // A position beyond the partition's head, where its entries were removed for their age, still counts in this log.
    const isValid = found.log === created && found.entry <= last;
    // No entry of a log that was made again is published. Of a log that lost its end, all that it still holds are.
    this.#position = isValid
      ? found
      : { lastSeq: found.lastSeq, entry: found.log === created ? head : 0, log: created };
    return found.log === '' ? undefined : this.#position.entry + 1;
  }

  async handle(batch: StreamMessage<LogRecord[]>[]): Promise<void> {
    const { maxPerMessage } = this.#o;
    this.#lines = [];
    const entries = batch.filter(({ seq }) => seq > this.#position.entry);
    for (const [i, { seq, value }] of entries.entries()) {
      const all = value.flatMap(eventLines);
      const { part } = this.#position;
      let published = part?.entry === seq ? part.events : 0;
      while (this.#lines.length + all.length - published > maxPerMessage) {
        const end = published + maxPerMessage - this.#lines.length;
        this.#lines.push(...all.slice(published, end));
        published = end;
        await this.#publish(entries[i - 1]?.seq ?? this.#position.entry, { entry: seq, events: published });
      }
      this.#lines.push(...all.slice(published));
      if (i === entries.length - 1) await this.#publish(seq);
    }
  }

  /** Publishes the lines: all events up to `entry`, and `part` of the entry after it. @throws {RestoreRequired} */
  async #publish(entry: number, part?: EventPosition['part']): Promise<void> {
    const { publisher, metrics } = this.#o;
    const lines = this.#lines;
    if (lines.length) this.#position.lastSeq = await this.#append(publisher, { ...this.#position, entry, part });
    this.#position.entry = entry;
    this.#position.part = part;
    metrics.records.inc({ stage: 'events', outcome: 'ok' }, lines.length);
    metrics.batch.observe({ stage: 'events' }, lines.length);
    this.#lines = [];
  }

  async #append(publisher: Publisher, position: EventPosition): Promise<number> {
    try {
      const data = encodeLines(this.#lines);
      return await publisher.publishAfter(
        subject.eventsOf(this.#partition),
        position.lastSeq,
        data,
        positionHeaders(position),
      );
    } catch (error) {
      if (error instanceof PublishError) throw new RestoreRequired(`EVENTS: ${error.message}`);
      throw error;
    }
  }
}
