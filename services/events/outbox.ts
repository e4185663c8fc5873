/** event_outbox → EVENTS: published, then deleted. What dies in between is published again under the same id. */
import type { Logger } from 'pino';
import type { Publisher } from '../../nats/publisher.ts';
import { subject } from '../../nats/topology.ts';
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

const LOCK = 7_325_909_204;
const BATCH = 500;
const EVERY_MS = 200;

export const rowEvent = ({ seq, id, type, conversation_id, at, data }: Row): Event => ({
  id: id ?? derivedId(at.getTime(), `outbox ${seq}`),
  type,
  timestamp: at.toISOString(),
  ...(conversation_id && { conversation_id }),
  data,
});

export class Outbox {
  readonly #db: Database;
  readonly #publisher: Publisher;
  readonly #log: Logger;
  #timer: NodeJS.Timeout | undefined;
  #working: Promise<void> = Promise.resolve();
  #closed = false;
  /** Why the last round failed. */
  trouble: string | undefined = 'not asked yet';

  constructor(db: Database, publisher: Publisher, log: Logger) {
    this.#db = db;
    this.#publisher = publisher;
    this.#log = log;
    this.#next(0);
  }

  async close(): Promise<void> {
    this.#closed = true;
    clearTimeout(this.#timer);
    await this.#working;
  }

  #next(ms: number): void {
    if (this.#closed) return;
    this.#timer = setTimeout(() => {
      this.#working = this.#round();
    }, ms);
  }

  async #round(): Promise<void> {
    let count = 0;
    try {
      count = await this.#move();
      this.trouble = undefined;
    } catch (error) {
      if (!this.trouble) this.#log.warn({ unit: 'outbox', reason: String(error) }, 'events wait in the outbox');
      this.trouble = 'events can not be moved out of Postgres';
    }
    this.#next(count === BATCH ? 0 : EVERY_MS);
  }

  #move(): Promise<number> {
    return this.#db.transaction(async (query) => {
      // One at a time, in order; the others have nothing to do.
      const [mine] = await query<{ locked: boolean }>('select pg_try_advisory_xact_lock($1) as locked', [LOCK]);
      if (!mine!.locked) return 0;
      const rows = await query<Row>(
        `with gone as (delete from event_outbox where seq in (select seq from event_outbox order by seq limit $1) returning *)
         select seq, id, type, conversation_id, at, data from gone order by seq`,
        [BATCH],
      );
      await Promise.all(
        rows.map((row) => {
          const one = rowEvent(row);
          return this.#publisher.publishOnce(subject.event(one.type), one.id, encodeEvents([one]));
        }),
      );
      return rows.length;
    });
  }
}
