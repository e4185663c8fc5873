/** Stores payments: events, once for ever, requests with their present state, and the conversations of each. */
import { type PaymentState, rankOf } from '../../shared/contract/payments.ts';
import type { Database, Query } from '../../shared/db/database.ts';
import { uuid7 } from '../../shared/ids.ts';
import type { ReceivedPayment } from '../../shared/pipeline/payments.ts';

export interface PaymentRequest {
  request_id: string;
  state: PaymentState;
  transfer_id: string | null;
  created_at: Date;
  updated_at: Date;
}
/** A new event, and whether it changed its request. */
export interface AppliedEvent {
  event: ReceivedPayment;
  state: PaymentState;
  /** False when the request had that state, or a later one, already. */
  moved: boolean;
}
/** A stored event whose effect may not have reached all conversations: `markApplied` was not called for it. */
export interface PendingEvent {
  key: string;
  request_id: string;
  state: PaymentState;
  transfer_id: string | null;
  moved: boolean;
  received_at: Date;
}
/** A conversation to which a request is attached. Only parties see the transfer. */
export interface Attachment {
  conversation_id: string;
  party: boolean;
}
export interface StoredBatch {
  pending: PendingEvent[];
  requests: Map<string, PaymentRequest>;
  /** By request. */
  attachments: Map<string, Attachment[]>;
}

/** Locks the requests of a batch until the transaction ends, and reads them and which events of the batch are new. */
export async function loadBatch(
  query: Query,
  batch: ReceivedPayment[],
): Promise<{
  newEvents: ReceivedPayment[];
  requests: Map<string, PaymentRequest>;
  keys: string[];
  requestIds: string[];
}> {
  const keys = [...new Set(batch.map(({ key }) => key))];
  const requestIds = [...new Set(batch.map(({ request_id }) => request_id))];
  // The api takes the same lock to attach a request: either its attachment is read here, or it reads what is written here.
  await query('select pg_advisory_xact_lock(hashtextextended(r, 0)) from unnest($1::text[]) r order by r', [
    [...requestIds].sort(),
  ]);
  const stored = await query<{ dedupe_key: string }>(
    'select dedupe_key from payment_events where dedupe_key = any($1)',
    [keys],
  );
  const known = new Set(stored.map(({ dedupe_key }) => dedupe_key));
  const newEvents = batch.filter(({ key, replay }) => !replay && !known.has(key) && known.add(key));
  return { newEvents, requests: await readRequests(query, requestIds), keys, requestIds };
}

/** The events among these keys that are not marked as applied, oldest first. */
export function readPending(query: Query, keys: string[]): Promise<PendingEvent[]> {
  return query<PendingEvent>(
    `select dedupe_key as key, request_id, state, transfer_id, moved, received_at from payment_events
     where dedupe_key = any($1) and applied_at is null order by id`,
    [keys],
  );
}

async function readRequests(query: Query, ids: string[]): Promise<Map<string, PaymentRequest>> {
  const rows = await query<PaymentRequest>(
    'select request_id, state, transfer_id, created_at, updated_at from payment_requests where request_id = any($1)',
    [ids],
  );
  return new Map(rows.map((row) => [row.request_id, row]));
}

/** The conversations of each of these requests. */
export async function readAttachments(query: Query, ids: string[]): Promise<Map<string, Attachment[]>> {
  const rows = await query<{ request_id: string; attachments: Attachment[] }>(
    `select request_id, json_agg(json_build_object('conversation_id', conversation_id, 'party', party)) as attachments
     from payment_attachments where request_id = any($1) group by 1`,
    [ids],
  );
  return new Map(rows.map((row) => [row.request_id, row.attachments]));
}

/** Writes new events, the requests that they moved, and the conversations that they name. */
export async function storeApplied(
  query: Query,
  applied: AppliedEvent[],
  requests: Map<string, PaymentRequest>,
): Promise<void> {
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

/** Marks events as applied: the log holds their effect. */
export async function markApplied(db: Database, keys: string[]): Promise<void> {
  await db.query('update payment_events set applied_at = now() where dedupe_key = any($1) and applied_at is null', [
    keys,
  ]);
}
