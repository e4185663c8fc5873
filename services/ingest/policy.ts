/**
 * The rules of who may do what in a conversation, one for each kind of command. Rules about the content of a command (how
 * many members a group has, which seq exists) are with the command in commands/.
 */
import type { ErrorCode } from '../../shared/contract/errors.ts';
import type { CommandKind } from '../../shared/pipeline/kinds.ts';
import { refuse } from './refusals.ts';
import type { Conversation } from './store.ts';

interface Rule {
  allows(conversation: Conversation, user: string): boolean;
  code: ErrorCode;
  message: string;
}
export type Policy = { [K in CommandKind]: Rule };

const isMember: Rule['allows'] = ({ members }, user) => members.has(user);
const anybody: Rule['allows'] = () => true;
/** A person who is no member must not learn that the conversation exists. */
const HIDDEN = { code: 'not_found', message: 'there is no such conversation' } as const;

const POLICY = {
  send: { allows: isMember, ...HIDDEN },
  read: { allows: isMember, ...HIDDEN },
  /** The payments service, which names no person, may move a payment in any conversation. */
  payment: { allows: ({ members }, user) => user === '' || members.has(user), ...HIDDEN },
  /** Creating a group again is answered as the first time, to its members. The id of a foreign group is taken. */
  create: { allows: isMember, code: 'conflict', message: 'there is a conversation with this id' },
  /** The gateway derives the id of a direct conversation from its two people, of whom one asks. */
  direct: { allows: anybody, ...HIDDEN },
  /** Notices come from Sealwire's own services and belong to no conversation. */
  notice: { allows: anybody, ...HIDDEN },
} satisfies Policy;

/**
 * Refuses an action that the person may not do in an existing conversation. `user` is empty where no person asks.
 * @throws {ApiError} with the code and message of the rule
 */
export function requirePermission(user: string, action: CommandKind, conversation: Conversation): void {
  const { allows, code, message } = POLICY[action];
  if (!allows(conversation, user)) refuse(code, message);
}
