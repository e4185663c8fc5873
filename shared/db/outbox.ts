/**
 * Appends events about changes that are only in Postgres to the outbox, in the transaction of the change. The service events
 * publishes them to EVENTS. Changes of devices need no call: triggers on their table write here (migration 0004).
 */
import type { EventData, EventName } from '../contract/events.ts';
import type { Query } from './database.ts';

export interface OutboxEvent<T extends EventName = EventName> {
  type: T;
  data: EventData<T>;
  conversation_id?: string | undefined;
  /** The same id for the same event, where it may be appended twice. Otherwise the id follows from the row. */
  id?: string | undefined;
  /** When it happened; now when absent. */
  at?: Date | undefined;
}

/** Call with the `query` of the transaction that makes the change. */
export async function appendEvents<T extends EventName>(query: Query, ...events: OutboxEvent<T>[]): Promise<void> {
  if (!events.length) return;
  await query(
    `insert into event_outbox (id, type, conversation_id, at, data)
     select id, type, conversation_id, coalesce(at, now()), data
     from unnest($1::uuid[], $2::text[], $3::uuid[], $4::timestamptz[], $5::json[]) as e(id, type, conversation_id, at, data)`,
    [
      events.map((event) => event.id ?? null),
      events.map((event) => event.type),
      events.map((event) => event.conversation_id ?? null),
      events.map((event) => event.at ?? null),
      events.map((event) => JSON.stringify(event.data)),
    ],
  );
}
