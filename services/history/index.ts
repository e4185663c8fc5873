/**
 * history: LOG → Postgres. Everything that waited in a partition is one transaction, which also moves the position:
 * an entry is in the projection exactly once, whatever dies when.
 */

import { createLogConsumers } from '../../nats/log-consumers.ts';
import { readLogHead } from '../../nats/log-reader.ts';
import { HaltRequired, RestoreRequired, type StreamMessage } from '../../nats/partition-consumer.ts';
import { subject } from '../../nats/topology.ts';
import type { LogRecord } from '../../shared/pipeline/entry.ts';
import type { Context, Service, ServiceDefinition } from '../../shared/service.ts';
import { Conflict } from './conflicts.ts';
import { collectRows, emptyRows, type Position, PositionMoved, type Rows, readPosition, writeRows } from './store.ts';
import { LogTrimmer } from './trim.ts';

const DAY_MS = 86_400_000;

async function open(context: Context): Promise<Service> {
  const { config, log, metrics, db } = context;
  const nc = await context.connect('history');

  const writers = createLogConsumers(nc, context, 'history', (partition) => {
    let position: Position = { entry_seq: 0, stream: '' };
    return {
      window: config.HISTORY_WINDOW,
      apartMs: config.BEHIND_MS,
      async restore() {
        const { head, last, created } = await readLogHead(nc, partition);
        position = (await readPosition(db.query, partition)) ?? { entry_seq: 0, stream: '' };
        // Beyond the partition's head, where its entries were removed for their age, it is still a place in this log.
        if (position.stream === created && position.entry_seq <= last) return position.entry_seq + 1;
        // Made anew: nothing of it has been read. Gone back: what it still holds has been.
        const start = { entry_seq: position.stream === created ? head : 0, stream: created };
        await writeRows(db, partition, position, start, emptyRows());
        if (position.stream)
          log.warn({ stage: 'history', partition, was: position.entry_seq, head }, 'the log began anew or went back');
        position = start;
        return start.entry_seq + 1;
      },
      async handle(batch) {
        const entries = batch.filter(({ seq }) => seq > position.entry_seq);
        if (!entries.length) return;
        const rows = emptyRows();
        for (const { value } of entries) collectRows(value, rows);
        const to = { entry_seq: entries.at(-1)!.seq, stream: position.stream };
        try {
          await writeRows(db, partition, position, to, rows);
        } catch (error) {
          // In a row's way is another record: the log holds one place twice. Which is right nobody here can say.
          if (error instanceof Conflict) throw new HaltRequired(error.message);
          if (error instanceof PositionMoved) throw new RestoreRequired(error.message);
          throw error;
        }
        position = to;
        nc.publish(subject.projected(partition), JSON.stringify({ entry_seq: to.entry_seq }));
        count(metrics, entries, rows);
      },
    };
  });
  const trimmer = new LogTrimmer(nc, {
    ...{ partitions: config.PARTITIONS, retentionMs: config.LOG_RETENTION_DAYS * DAY_MS, log },
  });
  return {
    ready: () => writers.map((writer) => writer.ready()).find((state) => state !== true) ?? true,
    close: async () => {
      await Promise.all([trimmer.close(), ...writers.map((writer) => writer.close())]);
      await nc.drain();
    },
  };
}

function count(metrics: Context['metrics'], entries: StreamMessage<LogRecord[]>[], rows: Rows): void {
  metrics.records.inc(
    { stage: 'history', outcome: 'ok' },
    rows.messages.length + rows.conversations.length + rows.reads.length + rows.payments.length,
  );
  metrics.batch.observe(
    { stage: 'history' },
    entries.reduce((sum, { value }) => sum + value.length, 0),
  );
}

const definition: ServiceDefinition = { open };
export default definition;
