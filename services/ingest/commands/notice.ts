/** Records a notice about a person, which fanout delivers outside of conversations. */
import type { NoticeCommand } from '../../../shared/pipeline/commands.ts';
import { ignore } from '../../../shared/pipeline/kinds.ts';
import type { CommandDefinition } from './definition.ts';

export const notice: CommandDefinition<NoticeCommand> = {
  collectLookups: ignore('a notice is recorded as it comes'),
  collectFollowUps: ignore('a notice is recorded as it comes'),
  decide(context, { conversation_id, user_id, device_id, type, audience, fields, removed }, _body, gateway, tag) {
    const author = { conversation_id, seq: 0, user_id, device_id, at: context.now, gateway, tag };
    context.addRecord({ kind: 'notice', ...author, type, audience, fields, removed });
    return ['', conversation_id, 0, 0];
  },
};
