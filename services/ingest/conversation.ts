/** Conversations as ingest makes them, and the head of a message in one. Pure. */
import { ApiError, type ErrorCode } from '../../shared/contract/errors.ts';
import type { CreateCommand } from '../../shared/pipeline/commands.ts';
import type { MessageRecord } from '../../shared/pipeline/entry.ts';
import type { Conversation, Person } from './store.ts';

export const refuse = (code: ErrorCode, message: string, details?: unknown): never => {
  throw new ApiError(code, message, details === undefined ? {} : { details });
};

/** Undefined where there is no such person. */
export type FindPerson = (user: string) => Person | undefined;

/** The two people of a direct conversation. */
export const pairOf = ({ type, members }: Conversation): [string, string] | undefined =>
  type === 'direct' ? ([...members.keys()] as [string, string]) : undefined;

const open = (id: string, type: Conversation['type'], members: Conversation['members']): Conversation => ({
  ...{ id, type, last_seq: 0, members },
  ...{ entry: Number.POSITIVE_INFINITY, read: new Map<string, number>() },
});

/** @throws {ApiError} `not_found`, `invalid_request` */
export function openDirect(
  { to, user_id, conversation_id }: { to?: string | undefined; user_id: string; conversation_id: string },
  person: FindPerson,
): Conversation {
  if (!to) return refuse('not_found', 'there is no such conversation');
  if (to === user_id) return refuse('invalid_request', 'to: a conversation needs another person');
  if (!person(to)) return refuse('not_found', 'there is no such person');
  return open(conversation_id, 'direct', new Map([user_id, to].sort().map((user) => [user, 'member'])));
}

/** @throws {ApiError} `not_found`, `invalid_request` */
export function openGroup(
  { conversation_id, user_id, type, member_ids }: CreateCommand,
  person: FindPerson,
  maxMembers: number,
): Conversation {
  const others = [...new Set(member_ids)].filter((user) => user !== user_id);
  if (others.length + 1 > maxMembers)
    refuse('invalid_request', `member_ids: a group has at most ${maxMembers} members`);
  const missing = others.filter((user) => !person(user));
  if (missing.length) refuse('not_found', 'some of these people do not exist', { user_ids: missing });
  const members: Conversation['members'] = new Map([[user_id, 'owner']]);
  for (const user of others) members.set(user, 'member');
  return open(conversation_id, type, members);
}

/** The reader's object up to the payload, see entry.ts. Ids need no escaping; the client's own id may. */
export function messageHead(meta: MessageRecord, sentAt: string): Buffer {
  let text = `"message":{"id":"${meta.id}","conversation_id":"${meta.conversation_id}","seq":${meta.seq},"sender_id":"${meta.user_id}","sender_device_id":"${meta.device_id}","client_message_id":${JSON.stringify(meta.client_message_id)}`;
  if (meta.attachments) text += `,"attachments":${JSON.stringify(meta.attachments)}`;
  if (meta.reply_to) text += `,"reply_to":"${meta.reply_to}"`;
  if (meta.expires_at) text += `,"expires_at":"${new Date(meta.expires_at).toISOString()}"`;
  if (meta.signature) text += `,"signature":"${meta.signature}"`;
  return Buffer.from(`${text},"sent_at":"${sentAt}","payload":`);
}
