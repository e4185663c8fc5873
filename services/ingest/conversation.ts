/** Makes new conversations from commands. Pure. */
import type { CreateCommand } from '../../shared/pipeline/commands.ts';
import { refuse } from './refusals.ts';
import type { Conversation, Person } from './store.ts';

/** Returns the person; undefined where there is no such person. */
export type FindPerson = (user: string) => Person | undefined;

/** The two people of a direct conversation; undefined for a group. */
export const pairOf = ({ type, members }: Conversation): [string, string] | undefined =>
  type === 'direct' ? ([...members.keys()] as [string, string]) : undefined;

const newConversation = (id: string, type: Conversation['type'], members: Conversation['members']): Conversation => ({
  ...{ id, type, last_seq: 0, members },
  ...{ entry: Number.POSITIVE_INFINITY, read: new Map<string, number>() },
});

/** @throws {ApiError} `not_found`, `invalid_request` */
export function newDirect(
  { to, user_id, conversation_id }: { to?: string | undefined; user_id: string; conversation_id: string },
  findPerson: FindPerson,
): Conversation {
  if (!to) return refuse('not_found', 'there is no such conversation');
  if (to === user_id) return refuse('invalid_request', 'to is the sender: name another person');
  if (!findPerson(to)) return refuse('not_found', 'there is no such person');
  return newConversation(conversation_id, 'direct', new Map([user_id, to].sort().map((user) => [user, 'member'])));
}

/** @throws {ApiError} `not_found`, `invalid_request` */
export function newGroup(
  { conversation_id, user_id, type, member_ids }: CreateCommand,
  findPerson: FindPerson,
  maxMembers: number,
): Conversation {
  const others = [...new Set(member_ids)].filter((user) => user !== user_id);
  if (others.length + 1 > maxMembers)
    refuse('invalid_request', `member_ids: a group has at most ${maxMembers} members`);
  const missing = others.filter((user) => !findPerson(user));
  if (missing.length) refuse('not_found', 'some of these people do not exist', { user_ids: missing });
  const members: Conversation['members'] = new Map([[user_id, 'owner']]);
  for (const user of others) members.set(user, 'member');
  return newConversation(conversation_id, type, members);
}
