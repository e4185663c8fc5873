/** Writes one transaction with everything that was waiting in a partition, guarded by the position that it continues. */
import { rankOf } from '../../shared/contract/payments.ts';
import type { Database, Query } from '../../shared/db/database.ts';
import { LATE_MESSAGE_MS } from '../../shared/db/deletion.ts';
import type { ConversationRecord, PaymentRecord, ReadRecord } from '../../shared/pipeline/entry.ts';
import { checkConversations } from './conflicts.ts';
import { insertMessages } from './insert-messages.ts';
import type { Rows } from './projections.ts';

export interface Position {
  entry_seq: number;
  /** Creation time of the LOG stream that `entry_seq` counts in. */
  stream: string;
}

/** Another process has moved the position: a worker that had lost the partition and did not know. */
export class PositionMoved extends Error {}

export async function readPosition(query: Query, partition: number): Promise<Position | undefined> {
  const [row] = await query<Position>('select entry_seq, stream from log_positions where partition = $1', [partition]);
  return row;
}

/**
 * Writes the rows of the entries after `from`, and moves the position to `to`.
 * @throws {PositionMoved} when the position is not `from` any more
 * @throws {Conflict} when another record has the place of a row
 */
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

/** Has the api erase accounts once more whose erasure ended before these late messages came. */
async function reopenErased(query: Query, records: Rows['messages']): Promise<void> {
  const late = records.filter(({ meta }) => meta.at < Date.now() - LATE_MESSAGE_MS);
  if (!late.length) return;
  await query('update users set erased_at = null where id = any($1::uuid[]) and erased_at is not null', [
    [...new Set(late.map(({ meta }) => meta.user_id))].sort(),
  ]);
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

/** Moves payments, which go only forward: the furthest state of each counts, and a stored later state stays. */
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
