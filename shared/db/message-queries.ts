/** Reading a conversation: one query for the API and the socket. A member sees from after joining to leaving. */
import { ApiError } from '../contract/errors.ts';
import type { Message } from '../contract/objects.ts';
import type { MediaRef } from '../contract/scalars.ts';
import type { Database } from './database.ts';

interface Row {
  id: string;
  seq: number;
  sender_id: string;
  sender_device_id: string;
  client_message_id: string;
  payload: string | { payload: string } | null;
  attachments: MediaRef[] | null;
  reply_to: string | null;
  sent_at: Date;
  edited_at: Date | null;
  deleted_at: Date | null;
  expires_at: Date | null;
  signature: string | null;
}
export interface MessageReader {
  user_id: string;
  device_id: string;
  conversation_id: string;
}

/**
 * With envelopes, `payload` is the whole envelope of the reading device, or null. It is found by its text, as history
 * writes it: `->>` fails on escapes that JSON allows and Postgres can't decode.
 */
const COLUMNS = `m.id, m.seq, m.sender_id, m.sender_device_id, m.client_message_id, m.attachments, m.reply_to,
  m.sent_at, m.edited_at, m.deleted_at, m.expires_at, m.signature,
  case when m.deleted_at is not null then null when m.envelopes is null then m.payload else
    (select e from json_array_elements(m.envelopes) e where starts_with(e::text, '{"device_id":"' || $2 || '"') limit 1)
  end as payload`;
/** Bounds that the index can use: `least` takes no heed of null, so of nobody who has not left. */
const VISIBLE = `m.conversation_id = w.conversation_id and m.seq > w.joined_seq
  and m.seq <= least(w.left_seq, ${Number.MAX_SAFE_INTEGER}) and (m.expires_at is null or m.expires_at > now())`;
const WHO = 'w.conversation_id = $3 and w.user_id = $1';

function toMessage(conversation_id: string, row: Row): Message {
  return {
    id: row.id,
    conversation_id,
    seq: row.seq,
    sender_id: row.sender_id,
    sender_device_id: row.sender_device_id,
    client_message_id: row.client_message_id,
    ...(row.attachments && { attachments: row.attachments }),
    ...(row.reply_to && { reply_to: row.reply_to }),
    ...(row.edited_at && { edited_at: row.edited_at.toISOString() }),
    ...(row.deleted_at && { deleted_at: row.deleted_at.toISOString() }),
    ...(row.expires_at && { expires_at: row.expires_at.toISOString() }),
    sent_at: row.sent_at.toISOString(),
    ...(row.signature && { signature: row.signature }),
    ...(row.payload !== null && { payload: typeof row.payload === 'string' ? row.payload : row.payload.payload }),
  };
}

export const conversationNotFound = (): ApiError => new ApiError('not_found', 'there is no such conversation');

/**
 * Refuses whoever never was in it exactly as if it did not exist, by the same statement: the ids of direct conversations
 * can be computed, so any difference would tell a stranger which pairs have talked.
 * @throws {ApiError} `not_found`
 */
export async function mustHaveBeenMember(
  db: Pick<Database, 'query'>,
  { user_id, conversation_id }: Pick<MessageReader, 'user_id' | 'conversation_id'>,
): Promise<void> {
  await membership(db, user_id, conversation_id);
}

/** What was only there after somebody left is not theirs to see. @throws {ApiError} `not_found`, `not_member` */
export async function mustBeMember(
  db: Pick<Database, 'query'>,
  { user_id, conversation_id }: Pick<MessageReader, 'user_id' | 'conversation_id'>,
): Promise<void> {
  const { left } = await membership(db, user_id, conversation_id);
  if (left) throw new ApiError('not_member', 'you are not a member of this conversation any more');
}

async function membership(
  db: Pick<Database, 'query'>,
  user_id: string,
  conversation_id: string,
): Promise<{ left: boolean }> {
  const [found] = await db.query<{ left: boolean }>(
    'select left_seq is not null as left from members where conversation_id = $1 and user_id = $2',
    [conversation_id, user_id],
  );
  if (!found) throw conversationNotFound();
  return found;
}

/** Rows of a page `p` up to so many bytes of payload, and one in any case. `found`: how many there were without it. */
const WITHIN = (order: string): string => `select * from (
    select p.*, count(*) over () as found, sum(octet_length(coalesce(p.payload::text, '')) +
      octet_length(coalesce(p.attachments::text, ''))) over (order by p.seq ${order} rows between unbounded preceding
      and 1 preceding) as bytes
    from p) q where coalesce(q.bytes, 0) < $7 order by q.seq ${order}`;

/**
 * Ascending after `after_seq` (and before `before_seq`, if both are given), else descending before `before_seq`, else
 * descending from the newest. `more`: another page follows in that direction.
 */
export async function readPageBySeq(
  db: Pick<Database, 'query'>,
  options: MessageReader & {
    after_seq?: number | undefined;
    before_seq?: number | undefined;
    limit?: number | undefined;
    max_bytes?: number;
  },
): Promise<{ messages: Message[]; more: boolean }> {
  const { user_id, device_id, conversation_id, after_seq, before_seq, limit = 50 } = options;
  const { max_bytes = Number.MAX_SAFE_INTEGER } = options;
  const order = after_seq === undefined ? 'desc' : 'asc';
  const rows = await db.query<Row & { found: number }>(
    // Lateral, so that one who is no member costs one look and not the whole conversation.
    `with p as (select p.* from members w cross join lateral (
       select ${COLUMNS} from messages m where ${VISIBLE} and m.seq > $4 and m.seq < $5 order by m.seq ${order} limit $6
     ) p where ${WHO}) ${WITHIN(order)}`,
    [user_id, device_id, conversation_id, after_seq ?? 0, before_seq ?? Number.MAX_SAFE_INTEGER, limit + 1, max_bytes],
  );
  if (rows.length === 0) await mustHaveBeenMember(db, options);
  const more = rows.length > 0 && rows[0]!.found > Math.min(rows.length, limit);
  return { messages: rows.slice(0, limit).map((row) => toMessage(conversation_id, row)), more };
}

/** The newest first, from page 1, with totals. */
export async function readPageByNumber(
  db: Database,
  options: MessageReader & { page: number; per_page: number },
): Promise<{ messages: Message[]; page: number; per_page: number; total: number; pages: number }> {
  const { user_id, device_id, conversation_id, page, per_page } = options;
  const [count] = await db.query<{ total: number }>(
    `select count(*) as total from members w join messages m on ${VISIBLE} where w.conversation_id = $2 and w.user_id = $1`,
    [user_id, conversation_id],
  );
  const total = count!.total;
  if (total === 0) await mustHaveBeenMember(db, options);
  const rows = await db.query<Row>(
    `select p.* from members w cross join lateral (
       select ${COLUMNS} from messages m where ${VISIBLE} order by m.seq desc limit $4 offset $5
     ) p where ${WHO} order by p.seq desc`,
    [user_id, device_id, conversation_id, per_page, (page - 1) * per_page],
  );
  const messages = rows.map((row) => toMessage(conversation_id, row));
  return { messages, page, per_page, total, pages: Math.ceil(total / per_page) };
}
