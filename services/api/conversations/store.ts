/** Reads conversations from the projection as one of their members sees them. Only history writes them, from the log. */
import type { Conversation, Member } from '../../../shared/contract/objects.ts';
import type { ConversationType, Role } from '../../../shared/contract/scalars.ts';
import type { Database } from '../../../shared/db/database.ts';
import { CONVERSATION_DEFAULTS } from './defaults.ts';

interface Row {
  id: string;
  type: ConversationType;
  name: string | null;
  description: string | null;
  last_seq: number;
  updated_at: Date;
  role: Role;
  joined_seq: number;
  left_seq: number | null;
  read_seq: number;
  members_count: number;
}

const SELECT = `select c.id, c.type, c.name, c.description, c.last_seq, c.updated_at,
    w.role, w.joined_seq, w.left_seq, w.read_seq,
    (select count(*) from members o where o.conversation_id = c.id and o.left_seq is null) as members_count
  from members w join conversations c on c.id = w.conversation_id`;

function toConversation(row: Row): Conversation {
  const last_seq = row.left_seq === null ? row.last_seq : Math.min(row.last_seq, row.left_seq);
  const read_seq = Math.max(row.read_seq, row.joined_seq);
  return {
    id: row.id,
    type: row.type,
    ...(row.name !== null && { name: row.name }),
    ...(row.description !== null && { description: row.description }),
    ...CONVERSATION_DEFAULTS,
    role: row.role,
    last_seq,
    read_seq,
    unread_count: Math.max(0, last_seq - read_seq),
    members_count: row.members_count,
    updated_at: row.updated_at.toISOString(),
  };
}

export async function readConversation(db: Database, user_id: string, id: string): Promise<Conversation | undefined> {
  const [row] = await db.query<Row>(`${SELECT} where w.user_id = $1 and w.conversation_id = $2`, [user_id, id]);
  return row && toConversation(row);
}

/** Lists conversations of which the person is a member now, the latest changed first, from behind `before`. */
export async function listConversations(
  db: Database,
  user_id: string,
  before: { at: Date; id: string } | undefined,
  limit: number,
): Promise<Conversation[]> {
  const rows = await db.query<Row>(
    `${SELECT} where w.user_id = $1 and w.left_seq is null
       and ($2::timestamptz is null or (c.updated_at, c.id) < ($2::timestamptz, $3::uuid))
     order by c.updated_at desc, c.id desc limit $4`,
    [user_id, before?.at ?? null, before?.id ?? null, limit],
  );
  return rows.map(toConversation);
}

export function listMembers(
  db: Database,
  conversation_id: string,
  after: string | undefined,
  limit: number,
): Promise<Member[]> {
  return db.query<Member>(
    `select user_id, role, joined_seq from members
     where conversation_id = $1 and left_seq is null and ($2::uuid is null or user_id > $2::uuid)
     order by user_id limit $3`,
    [conversation_id, after ?? null, limit],
  );
}
