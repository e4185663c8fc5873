/**
 * Moves the rows of `event_outbox` to EVENTS: published, then deleted. If the process dies in between, a row is published again
 * with the same id.
 */
import type { Logger } from 'pino';
import type { Publisher } from '../../nats/publisher.ts';
import { subject } from '../../nats/topology.ts';
import { type PeriodicTask, startPeriodicTask } from '../../shared/async/periodic-task.ts';
import type { EventName } from '../../shared/contract/events.ts';
import type { Database } from '../../shared/db/database.ts';
import { derivedId } from '../../shared/ids.ts';
import { type Event, encodeEvents } from '../../shared/pipeline/events.ts';

interface Row {
  seq: number;
  id: string | null;
  type: EventName;
  conversation_id: string | null;
  at: Date;
  data: Event['data'];
}

/** Key of the advisory lock: one process moves rows at a time, so that they stay in order. */
const LOCK = 7_325_909_204;
const BATCH = 500;
const EVERY_MS = 200;

const eventOfRow = ({ seq, id, type, conversation_id, at, data }: Row): Event => ({
  id: id ?? derivedId(at.getTime(), `outbox ${seq}`),
  type,
  timestamp: at.toISOString(),
  ...(conversation_id && { conversation_id }),
  data,
});

export class Outbox {
  readonly #db: Database;
  readonly #publisher: Publisher;
  readonly #task: PeriodicTask;
  #isClosed = false;
  /** Why the last attempt failed; undefined when it succeeded. */
  trouble: string | undefined = 'the outbox has not been read yet';

  constructor(db: Database, publisher: Publisher, log: Logger) {
    this.#db = db;
    this.#publisher = publisher;
    this.#task = startPeriodicTask(() => this.#moveAll(), {
      everyMs: EVERY_MS,
      onError: (error) => {
        if (!this.trouble) log.warn({ unit: 'outbox', reason: String(error) }, 'events wait in the outbox');
        this.trouble = 'the events of the outbox cannot be moved out of Postgres';
      },
    });
    void this.#task.run();
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    await this.#task.close();
  }

  /** Moves batches until one is not full. */
  async #moveAll(): Promise<void> {
    for (let moved = BATCH; moved === BATCH && !this.#isClosed; ) {
      moved = await this.#moveBatch();
      this.trouble = undefined;
    }
  }

  /** @returns the number of events moved */
  #moveBatch(): Promise<number> {
    return this.#db.transaction(async ({ query }) => {
      const [lock] = await query<{ locked: boolean }>('select pg_try_advisory_xact_lock($1) as locked', [LOCK]);
      if (!lock!.locked) return 0;
      const rows = await query<Row>(
        `with gone as (delete from event_outbox where seq in (select seq from event_outbox order by seq limit $1) returning *)
         select seq, id, type, conversation_id, at, data from gone order by seq`,
        [BATCH],
      );
      await Promise.all(
        rows.map((row) => {
          const event = eventOfRow(row);
          return this.#publisher.publishOnce(subject.event(event.type), event.id, encodeEvents([event]));
        }),
      );
      return rows.length;
    });
  }
}
