/**
 * Moves a payment request in a conversation. It goes only forward there: a state that the conversation has recorded already,
 * or a later one, is answered without a record.
 */
import { rankOf } from '../../../shared/contract/payments.ts';
import type { PaymentCommand } from '../../../shared/pipeline/commands.ts';
import { ignore } from '../../../shared/pipeline/kinds.ts';
import { pairOf } from '../conversation.ts';
import { requirePermission } from '../policy.ts';
import { databaseUnavailable } from '../refusals.ts';
import { paymentKey } from '../store.ts';
import type { CommandDefinition } from './definition.ts';

export const payment: CommandDefinition<PaymentCommand> = {
  collectLookups({ conversation_id, request_id }, { payments }) {
    payments.push([conversation_id, request_id]);
  },
  collectFollowUps: ignore('conversation and payment are all that has to be known'),
  decide(context, { conversation_id, user_id, device_id, request_id, state, transfer_id, again }) {
    const conversation = context.getConversation(conversation_id);
    requirePermission(user_id, 'payment', conversation);
    const key = paymentKey(conversation_id, request_id);
    const rank = rankOf(state);
    const recorded = context.state.payments.get(key);
    if (!recorded && context.loaded.isIncomplete) throw databaseUnavailable();
    const recordedRank = recorded?.rank ?? 0;
    const seq = conversation.last_seq;
    if (rank < recordedRank || (rank === recordedRank && !again)) return ['', conversation_id, seq, 1];
    context.state.movePayment(key, rank);
    const pair = pairOf(conversation);
    context.addRecord({
      ...{ kind: 'payment', conversation_id, seq, user_id, device_id, at: context.now },
      ...{ pair, request_id, state, transfer_id },
    });
    return ['', conversation_id, seq, 0];
  },
};
