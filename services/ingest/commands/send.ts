/** Accepts a message that is new, whose sender is a member, and whose envelopes match; it gets the next seq. */
import { uuid7 } from '../../../shared/ids.ts';
import type { Explicit, SendCommand } from '../../../shared/pipeline/commands.ts';
import type { MessageRecord, RecordedExtras } from '../../../shared/pipeline/entry.ts';
import { newDirect, pairOf } from '../conversation.ts';
import { addressEnvelopes } from '../envelopes.ts';
import { messageHead } from '../message-head.ts';
import { requirePermission } from '../policy.ts';
import { databaseUnavailable, refuse } from '../refusals.ts';
import { type Accepted, type Conversation, sentKey } from '../store.ts';
import type { CommandContext } from './context.ts';
import type { CommandDefinition } from './definition.ts';

export const send: CommandDefinition<SendCommand> = {
  collectLookups({ user_id, to }, { users }) {
    users.add(user_id);
    if (to) users.add(to);
  },

  collectFollowUps({ conversation_id, user_id, client_message_id, envelopes }, state, people, { users, doubtful }) {
    // Envelopes are compared with the devices of all members.
    if (envelopes) for (const user of state.conversations.get(conversation_id)?.members.keys() ?? []) users.add(user);
    const key = sentKey(conversation_id, user_id, client_message_id);
    if (state.accepted.has(key)) return;
    const person = people.get(user_id);
    // An id greater than all that the sender had accepted is new for certain.
    if (!person || client_message_id <= person.greatest)
      doubtful.set(key, [conversation_id, user_id, client_message_id]);
  },

  decide(context, command, body, gateway, tag) {
    const { conversation_id, user_id, device_id, client_message_id } = command;
    const accepted = findAccepted(context, command);
    if (accepted) return [accepted.message_id, accepted.conversation_id, accepted.seq, 1];
    const known = context.findConversation(conversation_id);
    const conversation = known ?? newDirect(command, context.findPerson);
    requirePermission(user_id, 'send', conversation);
    refuseFullInboxes(context, conversation, user_id);
    const pair = pairOf(conversation);
    const envelopes = command.envelopes && addressEnvelopes(command, conversation, context.findPerson, body);

    const id = uuid7();
    if (!known) context.state.addConversation(conversation);
    const seq = context.state.takeNextSeq(conversation);
    const expires = command.expires_in_sec === undefined ? undefined : context.now + command.expires_in_sec * 1_000;
    const meta: MessageRecord & Explicit<RecordedExtras> = {
      kind: 'message',
      id,
      conversation_id: conversation.id,
      seq,
      user_id,
      device_id,
      client_message_id,
      at: context.now,
      gateway,
      tag,
      pair,
      opens: known ? undefined : true,
      self: (context.loaded.people.get(user_id)?.devices.length ?? 2) > 1 || undefined,
      envelopes,
      attachments: command.attachments,
      reply_to: command.reply_to,
      expires_at: expires,
      signature: command.signature,
    };
    context.state.rememberSend(meta);
    context.entry.add(meta, messageHead(meta, context.nowText), body);
    return [id, conversation.id, seq, 0];
  },
};

/**
 * Returns the message that this command made when it came before.
 * @throws {ApiError} `unavailable` when only Postgres knows and it does not answer
 */
function findAccepted(
  { state, loaded }: CommandContext,
  { conversation_id, user_id, client_message_id }: SendCommand,
): Accepted | undefined {
  const key = sentKey(conversation_id, user_id, client_message_id);
  const accepted = state.accepted.get(key) ?? loaded.accepted.get(key);
  if (!accepted && loaded.undecided.has(key)) throw databaseUnavailable();
  return accepted;
}

/**
 * Refuses a message to a full inbox: otherwise the broker would drop the oldest waiting items for it.
 * @throws {ApiError} `queue_full`
 */
function refuseFullInboxes({ full }: CommandContext, { members, type }: Conversation, sender: string): void {
  if (!full.size) return;
  for (const user of members.keys()) {
    const fullFor = user === sender ? undefined : full.get(user);
    if (fullFor === 'all' || (fullFor === 'groups' && type !== 'direct'))
      refuse('queue_full', 'the inbox of a recipient is full; try again later');
  }
}
