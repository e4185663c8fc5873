/** Creates the direct conversation of two people, or finds it. */
import type { DirectCommand } from '../../../shared/pipeline/commands.ts';
import { ignore } from '../../../shared/pipeline/kinds.ts';
import { newDirect } from '../conversation.ts';
import { requirePermission } from '../policy.ts';
import type { CommandDefinition } from './definition.ts';

export const direct: CommandDefinition<DirectCommand> = {
  collectLookups({ to }, { users }) {
    if (to) users.add(to);
  },
  collectFollowUps: ignore('the other person is all that has to be known'),
  decide(context, command) {
    const { conversation_id, user_id } = command;
    const known = context.findConversation(conversation_id);
    if (known) {
      requirePermission(user_id, 'direct', known);
      return ['', conversation_id, known.last_seq, 1];
    }
    context.recordConversation(newDirect(command, context.findPerson), command);
    return ['', conversation_id, 0, 0];
  },
};
