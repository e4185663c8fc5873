/**
 * Events of what is only in Postgres: written in the transaction that makes it so, told to EVENTS by the worker `events`.
 * Devices need no call: triggers on their table write here (migration 0004).
 */
import type { EventData, EventName } from '../contract/events.ts';
import type { Query } from './database.ts';

export interface OutboxEvent<T extends EventName = EventName> {
  type: T;
  data: EventData<T>;
  conversation_id?: string | undefined;
  /** Where the same may be written twice: one id for the same thing. Otherwise it follows from the row. */
  id?: string | undefined;
  /** When it happened, else now. */
  at?: Date | undefined;
}

/** Call with the `query` of the transaction. */
export async function appendEvents<T extends EventName>(query: Query, ...events: OutboxEvent<T>[]): Promise<void> {
  if (!events.length) return;
  await query(
    `insert into event_outbox (id, type, conversation_id, at, data)
     select id, type, conversation_id, coalesce(at, now()), data
     from unnest($1::uuid[], $2::text[], $3::uuid[], $4::timestamptz[], $5::json[]) as e(id, type, conversation_id, at, data)`,
    [
      events.map((one) => one.id ?? null),
      events.map((one) => one.type),
      events.map((one) => one.conversation_id ?? null),
      events.map((one) => one.at ?? null),
      events.map((one) => JSON.stringify(one.data)),
    ],
  );
}
