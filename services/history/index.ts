/**
 * history: LOG → Postgres. Everything that waited in a partition is one transaction, which also moves the position:
 * an entry is in the projection exactly once, whatever dies when.
 */
import { type Delivered, Halt, Retake } from '../../nats/consume.ts';
import { logHead } from '../../nats/log.ts';
import { logWriters } from '../../nats/log-writer.ts';
import { subject } from '../../nats/topology.ts';
import type { Context, Service, ServiceDefinition } from '../../shared/lifecycle.ts';
import type { LogRecord } from '../../shared/pipeline/entry.ts';
import { Conflict } from './conflicts.ts';
import { Moved, noRows, type Position, type Rows, readPosition, sort, write } from './store.ts';

const WINDOW = 128;

async function open(context: Context): Promise<Service> {
  const { config, log, metrics, db } = context;
  const nc = await context.connect('history');

  const writers = logWriters(nc, context, 'history', (partition) => {
    let position: Position = { entry_seq: 0, stream: '' };
    return {
      window: WINDOW,
      apartMs: config.BEHIND_MS,
      async takeOver() {
        const { head, created } = await logHead(nc, partition);
        position = (await readPosition(db.query, partition)) ?? { entry_seq: 0, stream: '' };
        if (position.stream === created && position.entry_seq <= head) return position.entry_seq + 1;
        // The log was made anew or went back: what it holds now has not been read yet.
        const start = { entry_seq: 0, stream: created };
        await write(db, partition, position, start, noRows());
        log.warn({ stage: 'history', partition, was: position.entry_seq, head }, 'the log began anew');
        position = start;
        return 1;
      },
      async handle(batch) {
        const entries = batch.filter(({ seq }) => seq > position.entry_seq);
        if (!entries.length) return;
        const rows = noRows();
        for (const { value } of entries) sort(value, rows);
        const to = { entry_seq: entries.at(-1)!.seq, stream: position.stream };
        try {
          await write(db, partition, position, to, rows);
        } catch (error) {
          // In a row's way is another record: the log holds one place twice. Which is right nobody here can say.
          if (error instanceof Conflict) throw new Halt(error.message);
          if (error instanceof Moved) throw new Retake(error.message);
          throw error;
        }
        position = to;
        nc.publish(subject.projected(partition), JSON.stringify({ entry_seq: to.entry_seq }));
        count(metrics, entries, rows);
      },
    };
  });
  return {
    ready: () => writers.map((writer) => writer.ready()).find((state) => state !== true) ?? true,
    close: async () => {
      await Promise.all(writers.map((writer) => writer.close()));
      await nc.drain();
    },
  };
}

function count(metrics: Context['metrics'], entries: Delivered<LogRecord[]>[], rows: Rows): void {
  metrics.records.inc(
    { stage: 'history', outcome: 'ok' },
    rows.messages.length + rows.conversations.length + rows.reads.length + rows.payments.length,
  );
  metrics.batch.observe(
    { stage: 'history' },
    entries.reduce((sum, { value }) => sum + value.length, 0),
  );
}

const definition: ServiceDefinition = {
  name: 'history',
  about: 'writes conversations into Postgres: LOG to history',
  open,
};
export default definition;
