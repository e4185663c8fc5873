/** Reads pages of messages, for the API and the edge. A member sees messages from after joining to leaving. */
import type { Message } from '../contract/objects.ts';
import type { MediaRef } from '../contract/scalars.ts';
import type { Database } from './database.ts';
import { mustHaveBeenMember, type Reader } from './membership.ts';

interface MessageRow {
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
interface MessageReader extends Reader {
  /** The device whose envelopes are shown. */
  device_id: string;
}

/**
 * With envelopes, `payload` is the whole envelope of the reading device, or null. It is found by the text that history writes:
 * `->>` fails on escapes that JSON allows and Postgres cannot decode.
 */
const COLUMNS = `m.id, m.seq, m.sender_id, m.sender_device_id, m.client_message_id, m.attachments, m.reply_to,
  m.sent_at, m.edited_at, m.deleted_at, m.expires_at, m.signature,
  case when m.deleted_at is not null then null when m.envelopes is null then m.payload else
    (select e from json_array_elements(m.envelopes) e where starts_with(e::text, '{"device_id":"' || $2 || '"') limit 1)
  end as payload`;
/** Bounds that the index can use. `least` ignores NULL, so a member who has not left has no upper bound. */
const VISIBLE = `m.conversation_id = w.conversation_id and m.seq > w.joined_seq
  and m.seq <= least(w.left_seq, ${Number.MAX_SAFE_INTEGER}) and (m.expires_at is null or m.expires_at > now())`;
const IS_READER = 'w.conversation_id = $3 and w.user_id = $1';

function toMessage(conversation_id: string, row: MessageRow): Message {
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

/** Limits a page `p` to rows of at most `$7` bytes together, and at least one row. `found`: rows without this limit. */
const withinBytes = (order: string): string => `select * from (
    select p.*, count(*) over () as found, sum(octet_length(coalesce(p.payload::text, '')) +
      octet_length(coalesce(p.attachments::text, ''))) over (order by p.seq ${order} rows between unbounded preceding
      and 1 preceding) as bytes
    from p) q where coalesce(q.bytes, 0) < $7 order by q.seq ${order}`;

/**
 * Reads messages ascending after `after_seq` (and before `before_seq`, if both are given), otherwise descending before
 * `before_seq`, otherwise descending from the newest. `more`: another page follows in that direction.
 * @throws {ApiError} `not_found`
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
  const rows = await db.query<MessageRow & { found: number }>(
    // Lateral, so that a person who is not a member costs one index look-up instead of the whole conversation.
    `with p as (select p.* from members w cross join lateral (
       select ${COLUMNS} from messages m where ${VISIBLE} and m.seq > $4 and m.seq < $5 order by m.seq ${order} limit $6
     ) p where ${IS_READER}) ${withinBytes(order)}`,
    [user_id, device_id, conversation_id, after_seq ?? 0, before_seq ?? Number.MAX_SAFE_INTEGER, limit + 1, max_bytes],
  );
  if (rows.length === 0) await mustHaveBeenMember(db, options);
  const more = rows.length > 0 && rows[0]!.found > Math.min(rows.length, limit);
  return { messages: rows.slice(0, limit).map((row) => toMessage(conversation_id, row)), more };
}

/** Reads a numbered page with totals; page 1 has the newest messages. @throws {ApiError} `not_found` */
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
  const rows = await db.query<MessageRow>(
    `select p.* from members w cross join lateral (
       select ${COLUMNS} from messages m where ${VISIBLE} order by m.seq desc limit $4 offset $5
     ) p where ${IS_READER} order by p.seq desc`,
    [user_id, device_id, conversation_id, per_page, (page - 1) * per_page],
  );
  const messages = rows.map((row) => toMessage(conversation_id, row));
  return { messages, page, per_page, total, pages: Math.ceil(total / per_page) };
}
