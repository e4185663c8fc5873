/** Moves how far a person has read a conversation, which goes only forward. */
import type { ReadCommand } from '../../../shared/pipeline/commands.ts';
import { ignore } from '../../../shared/pipeline/kinds.ts';
import { pairOf } from '../conversation.ts';
import { requirePermission } from '../policy.ts';
import { refuse } from '../refusals.ts';
import type { CommandDefinition } from './definition.ts';

export const read: CommandDefinition<ReadCommand> = {
  collectLookups: ignore('the conversation is all that has to be known'),
  collectFollowUps: ignore('the conversation is all that has to be known'),
  decide(context, { conversation_id, user_id, device_id, seq }) {
    const conversation = context.getConversation(conversation_id);
    requirePermission(user_id, 'read', conversation);
    if (seq > conversation.last_seq)
      refuse('invalid_request', 'seq is greater than that of the last message of the conversation');
    if (seq <= (conversation.read.get(user_id) ?? 0)) return ['', conversation_id, seq, 1];
    context.state.moveRead(conversation, user_id, seq);
    const pair = pairOf(conversation);
    context.addRecord({ kind: 'read', conversation_id, seq, user_id, device_id, at: context.now, pair });
    return ['', conversation_id, seq, 0];
  },
};
