/** Making deliveries: what an event becomes for the endpoints that want it. */
import type { Query } from '../db/database.ts';
import type { Event } from '../pipeline/events.ts';

/** At once, whatever clock the sender goes by. */
export const NOW = '-infinity';

export interface Order {
  event: Event;
  endpoint_id: string;
  /** Behind other deliveries of the same conversation to that endpoint. */
  ordered: boolean;
}

/** The request's body: the same bytes at every attempt. */
export const bodyOf = ({ type, timestamp, data }: Event): string => JSON.stringify({ type, timestamp, data });

/** Events and deliveries that are there already stay as they are. Call in a transaction. */
export async function insertDeliveries(query: Query, orders: Order[]): Promise<void> {
  if (!orders.length) return;
  const events = [...new Map(orders.map(({ event }) => [event.id, event])).values()];
  await query(
    `insert into webhook_events (id, type, conversation_id, at, body)
     select * from unnest($1::uuid[], $2::text[], $3::uuid[], $4::timestamptz[], $5::text[]) on conflict do nothing`,
    [
      events.map(({ id }) => id),
      events.map(({ type }) => type),
      events.map(({ conversation_id }) => conversation_id ?? null),
      events.map(({ timestamp }) => timestamp),
      events.map(bodyOf),
    ],
  );
  const lined = orders.filter(({ ordered }) => ordered);
  // Whoever finishes the delivery before locks the endpoint too, so it either sees these rows or has finished.
  if (lined.length)
    await query('select 1 from webhook_endpoints where id = any($1) order by id for no key update', [
      [...new Set(lined.map(({ endpoint_id }) => endpoint_id))],
    ]);
  await query(
    `insert into webhook_deliveries (endpoint_id, event_id, conversation_id, next_at)
     select n.endpoint_id, n.event_id, n.conversation_id,
       case when n.conversation_id is not null and (
         row_number() over (partition by n.endpoint_id, n.conversation_id order by n.place) > 1
         or exists (select 1 from webhook_deliveries p where p.endpoint_id = n.endpoint_id
           and p.conversation_id = n.conversation_id and p.status = 'pending'))
       then 'infinity'::timestamptz else '${NOW}' end
     from unnest($1::uuid[], $2::uuid[], $3::uuid[]) with ordinality as n(endpoint_id, event_id, conversation_id, place)
     where not exists (select 1 from webhook_deliveries d where d.endpoint_id = n.endpoint_id and d.event_id = n.event_id)
     order by n.place
     on conflict do nothing`,
    [
      orders.map(({ endpoint_id }) => endpoint_id),
      orders.map(({ event }) => event.id),
      orders.map(({ event, ordered }) => (ordered ? (event.conversation_id ?? null) : null)),
    ],
  );
}

/** Tries deliveries again from the start of the schedule, out of any order. `which`: SQL about `d`, parameters from $2. */
export async function again(query: Query, endpoint_id: string, which: string, params: unknown[]): Promise<number> {
  const rows = await query(
    `update webhook_deliveries d set status = 'pending', attempts = 0, next_at = '${NOW}', claim = null,
       conversation_id = null, finished_at = null
     where d.endpoint_id = $1 and ${which} returning 1`,
    [endpoint_id, ...params],
  );
  return rows.length;
}
