/** Rules of who may read a conversation, for the API and the edge. */
import { ApiError } from '../contract/errors.ts';
import type { Database } from './database.ts';

export interface Reader {
  user_id: string;
  conversation_id: string;
}

export const conversationNotFound = (): ApiError => new ApiError('not_found', 'there is no such conversation');

/**
 * Refuses a person who never was a member exactly as if the conversation did not exist, by the same statement: ids of direct
 * conversations can be computed, so any difference would tell a stranger which people have talked.
 * @throws {ApiError} `not_found`
 */
export async function mustHaveBeenMember(db: Pick<Database, 'query'>, reader: Reader): Promise<void> {
  await readMembership(db, reader);
}

/** Refuses former members too, where they must not see what was added after they left. @throws {ApiError} `not_found`, `not_member` */
export async function mustBeMember(db: Pick<Database, 'query'>, reader: Reader): Promise<void> {
  const { has_left } = await readMembership(db, reader);
  if (has_left) throw new ApiError('not_member', 'you are not a member of this conversation any more');
}

async function readMembership(
  db: Pick<Database, 'query'>,
  { user_id, conversation_id }: Reader,
): Promise<{ has_left: boolean }> {
  const [found] = await db.query<{ has_left: boolean }>(
    'select left_seq is not null as has_left from members where conversation_id = $1 and user_id = $2',
    [conversation_id, user_id],
  );
  if (!found) throw conversationNotFound();
  return found;
}
