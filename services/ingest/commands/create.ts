/** Creates a group. The client chooses its id, so the same command may come again. */
import type { CreateCommand } from '../../../shared/pipeline/commands.ts';
import { ignore } from '../../../shared/pipeline/kinds.ts';
import { newGroup } from '../conversation.ts';
import { requirePermission } from '../policy.ts';
import type { CommandDefinition } from './definition.ts';

export const create: CommandDefinition<CreateCommand> = {
  collectLookups({ member_ids }, { users }) {
    for (const user of member_ids) users.add(user);
  },
  collectFollowUps: ignore('the members are all that has to be known'),
  decide(context, command) {
    const { conversation_id, user_id } = command;
    const known = context.findConversation(conversation_id);
    if (known) {
      requirePermission(user_id, 'create', known);
      return ['', conversation_id, known.last_seq, 1];
    }
    context.recordConversation(newGroup(command, context.findPerson, context.limits.GROUP_MAX_MEMBERS), command);
    return ['', conversation_id, 0, 0];
  },
};
