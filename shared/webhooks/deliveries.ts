/** Inserts and requeues deliveries: one row for each event and each endpoint that wants it. */
import type { Query } from '../db/database.ts';
import type { Event } from '../pipeline/events.ts';

/** `next_at` of a delivery that is due at once, also for a sender whose clock is behind. */
export const DUE_NOW = '-infinity';

export interface NewDelivery {
  event: Event;
  endpoint_id: string;
  /** Waits for earlier deliveries of the same conversation to that endpoint. */
  ordered: boolean;
}

/** Returns the body of the request: the same bytes at every attempt. */
const requestBody = ({ type, timestamp, data }: Event): string => JSON.stringify({ type, timestamp, data });

/** Inserts what is missing; events and deliveries that exist stay as they are. Call in a transaction. */
export async function insertDeliveries(query: Query, deliveries: NewDelivery[]): Promise<void> {
  if (!deliveries.length) return;
  const events = [...new Map(deliveries.map(({ event }) => [event.id, event])).values()];
  await query(
    `insert into webhook_events (id, type, conversation_id, at, body)
     select * from unnest($1::uuid[], $2::text[], $3::uuid[], $4::timestamptz[], $5::text[]) on conflict do nothing`,
    [
      events.map(({ id }) => id),
      events.map(({ type }) => type),
      events.map(({ conversation_id }) => conversation_id ?? null),
      events.map(({ timestamp }) => timestamp),
      events.map(requestBody),
    ],
  );
  const inOrder = deliveries.filter(({ ordered }) => ordered);
  // recordAttempts locks the endpoint too: when it ends the delivery before, it sees these rows, or has committed already.
  if (inOrder.length)
    await query('select 1 from webhook_endpoints where id = any($1) order by id for no key update', [
      [...new Set(inOrder.map(({ endpoint_id }) => endpoint_id))],
    ]);
  await query(
    `insert into webhook_deliveries (endpoint_id, event_id, conversation_id, next_at)
     select n.endpoint_id, n.event_id, n.conversation_id,
       case when n.conversation_id is not null and (
         row_number() over (partition by n.endpoint_id, n.conversation_id order by n.ordinal) > 1
         or exists (select 1 from webhook_deliveries p where p.endpoint_id = n.endpoint_id
           and p.conversation_id = n.conversation_id and p.status = 'pending'))
       then 'infinity'::timestamptz else '${DUE_NOW}' end
     from unnest($1::uuid[], $2::uuid[], $3::uuid[]) with ordinality as n(endpoint_id, event_id, conversation_id, ordinal)
     where not exists (select 1 from webhook_deliveries d where d.endpoint_id = n.endpoint_id and d.event_id = n.event_id)
     order by n.ordinal
     on conflict do nothing`,
    [
      deliveries.map(({ endpoint_id }) => endpoint_id),
      deliveries.map(({ event }) => event.id),
      deliveries.map(({ event, ordered }) => (ordered ? (event.conversation_id ?? null) : null)),
    ],
  );
}

/**
 * Makes deliveries due again from the start of the retry schedule, outside of any ordered queue.
 * `condition`: SQL about `webhook_deliveries d`, with parameters from $2.
 * @returns how many
 */
export async function requeueDeliveries(
  query: Query,
  endpoint_id: string,
  condition: string,
  params: unknown[],
): Promise<number> {
  const rows = await query(
    `update webhook_deliveries d set status = 'pending', attempts = 0, next_at = '${DUE_NOW}', claim = null,
       conversation_id = null, finished_at = null
     where d.endpoint_id = $1 and ${condition} returning 1`,
    [endpoint_id, ...params],
  );
  return rows.length;
}
