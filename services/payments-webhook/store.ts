/** What payments are in Postgres: events for ever, requests as they stand, and the conversations they were put into. */
import { rankOf } from '../../shared/contract/payments.ts';
import type { Database, Query } from '../../shared/db/database.ts';
import { appendEvents } from '../../shared/db/outbox.ts';
import { uuid7 } from '../../shared/ids.ts';
import type { ReceivedPayment } from '../../shared/pipeline/payments.ts';
import { type Applied, apply, type Request } from './handle.ts';

/** An event whose effect has not been told to everybody. */
export interface Untold {
  key: string;
  request_id: string;
  state: Request['state'];
  transfer_id: string | null;
  moved: boolean;
  received_at: Date;
}
/** Where a request stands; only parties are told its transfer. */
export interface Place {
  conversation_id: string;
  party: boolean;
}
export interface Outcome {
  untold: Untold[];
  requests: Map<string, Request>;
  /** Of each request. */
  conversations: Map<string, Place[]>;
}

/**
 * Writes a batch in one transaction. What was written before stays as it is, so a batch may come again; `untold` holds
 * what of it has not been marked by `told`.
 */
export function record(db: Database, batch: ReceivedPayment[]): Promise<Outcome> {
  const keys = [...new Set(batch.map(({ key }) => key))];
  const ids = [...new Set(batch.map(({ request_id }) => request_id))];
  return db.transaction(async ({ query }) => {
    // A request that is put into a conversation meanwhile either is seen here, or sees what is written here.
    await query('select pg_advisory_xact_lock(hashtextextended(r, 0)) from unnest($1::text[]) r order by r', [
      [...ids].sort(),
    ]);
    const known = await query<{ dedupe_key: string }>(
      'select dedupe_key from payment_events where dedupe_key = any($1)',
      [keys],
    );
    const old = new Set(known.map(({ dedupe_key }) => dedupe_key));
    const fresh = batch.filter(({ key, replay }) => !replay && !old.has(key) && old.add(key));
    const requests = await readRequests(query, ids);
    const applied = apply(fresh, requests);
    if (applied.length) await write(query, applied, requests);
    const conversations = await readAttachments(query, ids);
    await publish(query, applied, conversations);
    const untold = await query<Untold>(
      `select dedupe_key as key, request_id, state, transfer_id, moved, received_at from payment_events
       where dedupe_key = any($1) and applied_at is null order by id`,
      [keys],
    );
    return { untold, requests, conversations };
  });
}

async function readRequests(query: Query, ids: string[]): Promise<Map<string, Request>> {
  const rows = await query<Request>(
    'select request_id, state, transfer_id, created_at, updated_at from payment_requests where request_id = any($1)',
    [ids],
  );
  return new Map(rows.map((row) => [row.request_id, row]));
}

async function readAttachments(query: Query, ids: string[]): Promise<Map<string, Place[]>> {
  const rows = await query<{ request_id: string; places: Place[] }>(
    `select request_id, json_agg(json_build_object('conversation_id', conversation_id, 'party', party)) as places from payment_attachments
     where request_id = any($1) group by 1`,
    [ids],
  );
  return new Map(rows.map((row) => [row.request_id, row.places]));
}

async function write(query: Query, applied: Applied[], requests: Map<string, Request>): Promise<void> {
  const events = applied.map(({ event }) => event);
  await query(
    `insert into payment_events
       (id, dedupe_key, type, request_id, transfer_id, conversation_id, state, moved, received_at)
     select * from unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::text[], $6::uuid[], $7::text[],
       $8::boolean[], $9::timestamptz[])`,
    [
      events.map(() => uuid7()),
      events.map(({ key }) => key),
      events.map(({ type }) => type),
      events.map(({ request_id }) => request_id),
      events.map(({ transfer_id }) => transfer_id ?? null),
      events.map(({ conversation_id }) => conversation_id ?? null),
      applied.map(({ state }) => state),
      applied.map(({ moved }) => moved),
      events.map(({ received_at }) => new Date(received_at)),
    ],
  );
  const moved = [...new Set(applied.flatMap((one) => (one.moved ? [one.event.request_id] : [])))].map(
    (id) => requests.get(id)!,
  );
  if (moved.length)
    await query(
      `insert into payment_requests (request_id, state, rank, transfer_id, created_at, updated_at)
       select * from unnest($1::text[], $2::text[], $3::smallint[], $4::text[], $5::timestamptz[], $6::timestamptz[])
       on conflict (request_id) do update set state = excluded.state, rank = excluded.rank,
         transfer_id = excluded.transfer_id, updated_at = excluded.updated_at`,
      [
        moved.map(({ request_id }) => request_id),
        moved.map(({ state }) => state),
        moved.map(({ state }) => rankOf(state)),
        moved.map(({ transfer_id }) => transfer_id),
        moved.map(({ created_at }) => created_at),
        moved.map(({ updated_at }) => updated_at),
      ],
    );
  const placed = events.filter(({ conversation_id }) => conversation_id !== undefined);
  if (placed.length)
    await query(
      `insert into payment_attachments (request_id, conversation_id)
       select distinct * from unnest($1::text[], $2::uuid[])
       on conflict (request_id, conversation_id) do update set party = true`,
      [placed.map(({ request_id }) => request_id), placed.map(({ conversation_id }) => conversation_id)],
    );
}

/** For webhooks: one event a step and conversation. */
async function publish(query: Query, applied: Applied[], conversations: Map<string, Place[]>): Promise<void> {
  const events = applied.flatMap(({ event, state, moved }) => {
    if (!moved) return [];
    const { request_id, transfer_id, received_at } = event;
    const data = { request_id, state, ...(transfer_id === undefined ? {} : { transfer_id }) };
    const one = { type: 'chat.payment.updated' as const, at: new Date(received_at), data };
    const of = conversations.get(request_id);
    return of?.map(({ conversation_id }) => ({ ...one, conversation_id, data: { ...data, conversation_id } })) ?? [one];
  });
  await appendEvents(query, ...events);
}

/** Their effect stands in the log. */
export async function markApplied(db: Database, keys: string[]): Promise<void> {
  await db.query('update payment_events set applied_at = now() where dedupe_key = any($1) and applied_at is null', [
    keys,
  ]);
}
