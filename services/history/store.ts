/** What history writes: one transaction for everything that was waiting, guarded by the position it continues. */
import { rankOf } from '../../shared/contract/payments.ts';
import type { Database, Query } from '../../shared/db/database.ts';
import { LATE_MESSAGE_MS } from '../../shared/db/deletion.ts';
import { unpackEnvelopes } from '../../shared/pipeline/commands.ts';
import type {
  ConversationRecord,
  LogRecord,
  MessageRecord,
  PaymentRecord,
  ReadRecord,
} from '../../shared/pipeline/entry.ts';

import { checkConversations, checkMessages } from './conflicts.ts';

export interface Rows {
  messages: { meta: MessageRecord; body: Buffer }[];
  conversations: ConversationRecord[];
  reads: ReadRecord[];
  payments: PaymentRecord[];
}
export const emptyRows = (): Rows => ({ messages: [], conversations: [], reads: [], payments: [] });

export function collectRows(records: LogRecord[], into: Rows): void {
  for (const { meta, body } of records) {
    if (meta.kind === 'message') {
      into.messages.push({ meta, body });
      if (meta.opens)
        into.conversations.push({
          ...meta,
          kind: 'conversation',
          type: 'direct',
          seq: 0,
          members: meta.pair!.map((user) => [user, 'member']),
        });
    } else if (meta.kind === 'conversation') into.conversations.push(meta);
    else if (meta.kind === 'read') into.reads.push(meta);
    else if (meta.kind === 'payment') into.payments.push(meta);
  }
}

export interface Position {
  entry_seq: number;
  /** Creation time of the LOG stream that it counts in. */
  stream: string;
}

export async function readPosition(query: Query, partition: number): Promise<Position | undefined> {
  const [row] = await query<Position>('select entry_seq, stream from log_positions where partition = $1', [partition]);
  return row;
}

/**
 * Writes what lies after the recorded position and moves it. Returns the position reached; throws `Moved` when somebody
 * else moved it meanwhile (a worker that had lost the partition and did not know).
 */
export class PositionMoved extends Error {}

export function writeRows(db: Database, partition: number, from: Position, to: Position, rows: Rows): Promise<void> {
  return db.transaction(async ({ query }) => {
    const [moved] = await query(
      `insert into log_positions as p (partition, entry_seq, stream) values ($1, $2, $3)
       on conflict (partition) do update set entry_seq = $2, stream = $3 where p.entry_seq = $4 and p.stream = $5
       returning partition`,
      [partition, to.entry_seq, to.stream, from.entry_seq, from.stream],
    );
    if (!moved) throw new PositionMoved(`partition ${partition} is no longer at ${from.entry_seq}`);
    if (rows.conversations.length) await insertConversations(query, partition, rows.conversations);
    if (rows.messages.length) {
      await insertMessages(query, rows.messages);
      await reopenErased(query, rows.messages);
    }
    if (rows.reads.length) await moveReads(query, rows.reads);
    if (rows.payments.length) await movePayments(query, rows.payments);
  });
}

async function insertConversations(query: Query, partition: number, records: ConversationRecord[]): Promise<void> {
  const inserted = await query<{ id: string }>(
    `insert into conversations (id, type, name, description, partition, created_by, created_at, updated_at)
     select id, type, name, description, $1, created_by, at, at
     from unnest($2::uuid[], $3::text[], $4::text[], $5::text[], $6::uuid[], $7::timestamptz[]) as r(id, type, name, description, created_by, at)
     on conflict do nothing returning id`,
    [
      partition,
      records.map((r) => r.conversation_id),
      records.map((r) => r.type),
      records.map((r) => r.name ?? null),
      records.map((r) => r.description ?? null),
      records.map((r) => r.user_id),
      records.map((r) => new Date(r.at)),
    ],
  );
  if (inserted.length < records.length) await checkConversations(query, records);
  const members = records.flatMap((r) => r.members.map(([user, role]) => [r.conversation_id, user, role] as const));
  await query(
    `insert into members (conversation_id, user_id, role, joined_seq)
     select c, u, r, 0 from unnest($1::uuid[], $2::uuid[], $3::text[]) as m(c, u, r) on conflict do nothing`,
    [members.map(([c]) => c), members.map(([, u]) => u), members.map(([, , r]) => r)],
  );
}

/** Who deleted the account long ago was erased before these came in: the api has to do it again. */
async function reopenErased(query: Query, records: Rows['messages']): Promise<void> {
  const late = records.filter(({ meta }) => meta.at < Date.now() - LATE_MESSAGE_MS);
  if (!late.length) return;
  await query('update users set erased_at = null where id = any($1::uuid[]) and erased_at is not null', [
    [...new Set(late.map(({ meta }) => meta.user_id))].sort(),
  ]);
}

async function insertMessages(query: Query, records: Rows['messages']): Promise<void> {
  const date = (ms: number | undefined): Date | null => (ms === undefined ? null : new Date(ms));
  const inserted = await query<{ id: string }>(
    `insert into messages (id, conversation_id, seq, sender_id, sender_device_id, client_message_id, payload, envelopes, attachments, reply_to, sent_at, expires_at, signature)
     select * from unnest($1::uuid[], $2::uuid[], $3::bigint[], $4::uuid[], $5::uuid[], $6::text[], $7::json[], $8::json[], $9::json[], $10::uuid[], $11::timestamptz[], $12::timestamptz[], $13::text[])
     on conflict do nothing returning id`,
    [
      records.map(({ meta }) => meta.id),
      records.map(({ meta }) => meta.conversation_id),
      records.map(({ meta }) => meta.seq),
      records.map(({ meta }) => meta.user_id),
      records.map(({ meta }) => meta.device_id),
      records.map(({ meta }) => meta.client_message_id),
      records.map(({ meta, body }) => (meta.envelopes ? null : body.toString())),
      records.map(envelopes),
      records.map(({ meta }) => (meta.attachments ? JSON.stringify(meta.attachments) : null)),
      records.map(({ meta }) => meta.reply_to ?? null),
      records.map(({ meta }) => date(meta.at)),
      records.map(({ meta }) => date(meta.expires_at)),
      records.map(({ meta }) => meta.signature ?? null),
    ],
  );
  if (inserted.length < records.length) await checkMessages(query, records, inserted);
  const last = new Map<string, MessageRecord>();
  for (const { meta } of records) last.set(meta.conversation_id, meta);
  // In one order always, so that two partitions' transactions never wait for each other in a circle.
  const touched = [...last.values()].sort((a, b) => (a.conversation_id < b.conversation_id ? -1 : 1));
  await query(
    `update conversations c set last_seq = greatest(c.last_seq, r.seq), updated_at = r.at
     from unnest($1::uuid[], $2::bigint[], $3::timestamptz[]) as r(id, seq, at) where c.id = r.id`,
    [touched.map((m) => m.conversation_id), touched.map((m) => m.seq), touched.map((m) => new Date(m.at))],
  );
}

/** `[{device_id, payload}]` as text, the payloads' literals as they came. */
function envelopes({ meta, body }: Rows['messages'][number]): string | null {
  if (!meta.envelopes) return null;
  const literals = unpackEnvelopes(body);
  return `[${meta.envelopes.map(({ device_id }, i) => `{"device_id":"${device_id}","payload":${literals[i]}}`).join(',')}]`;
}

async function moveReads(query: Query, records: ReadRecord[]): Promise<void> {
  const last = new Map<string, ReadRecord>();
  for (const record of records) {
    const key = `${record.conversation_id}${record.user_id}`;
    if (record.seq > (last.get(key)?.seq ?? -1)) last.set(key, record);
  }
  const reads = [...last.values()];
  await query(
    `update members m set read_seq = greatest(m.read_seq, r.seq)
     from unnest($1::uuid[], $2::uuid[], $3::bigint[]) as r(c, u, seq) where m.conversation_id = r.c and m.user_id = r.u`,
    [reads.map((r) => r.conversation_id), reads.map((r) => r.user_id), reads.map((r) => r.seq)],
  );
}

/** A payment goes only forward: the furthest of each counts, and what stands there is never put back. */
async function movePayments(query: Query, records: PaymentRecord[]): Promise<void> {
  const furthest = new Map<string, PaymentRecord>();
  for (const record of records) {
    const key = `${record.conversation_id} ${record.request_id}`;
    const known = furthest.get(key);
    if (!known || rankOf(record.state) >= rankOf(known.state)) furthest.set(key, record);
  }
  const last = [...furthest.values()];
  await query(
    `insert into conversation_payments as p (conversation_id, request_id, state, rank, transfer_id, seq, updated_at)
     select * from unnest($1::uuid[], $2::text[], $3::text[], $4::smallint[], $5::text[], $6::bigint[], $7::timestamptz[])
     on conflict (conversation_id, request_id) do update set state = excluded.state, rank = excluded.rank,
       transfer_id = excluded.transfer_id, seq = excluded.seq, updated_at = excluded.updated_at
       where p.rank <= excluded.rank`,
    [
      last.map((r) => r.conversation_id),
      last.map((r) => r.request_id),
      last.map((r) => r.state),
      last.map((r) => rankOf(r.state)),
      last.map((r) => r.transfer_id ?? null),
      last.map((r) => r.seq),
      last.map((r) => new Date(r.at)),
    ],
  );
}
