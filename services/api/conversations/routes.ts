/** Routes of conversations. They are created through the log and read from the projection of the log. */
import type { CommandLimits } from '../../../nats/command-limits.ts';
import type { Gateway } from '../../../nats/gateway.ts';
import type { AttemptLimits } from '../../../shared/auth/attempt-limits.ts';
import type { Config } from '../../../shared/config/index.ts';
import { ApiError } from '../../../shared/contract/errors.ts';
import type { Conversation } from '../../../shared/contract/objects.ts';
import type { Database } from '../../../shared/db/database.ts';
import { conversationNotFound, mustBeMember } from '../../../shared/db/membership.ts';
import { directConversationId, partitionOf, uuid7 } from '../../../shared/ids.ts';
import type { Accounts } from '../accounts/store.ts';
import { idCursor, paginate, timeCursor } from '../http/pagination.ts';
import type { HandlersOf } from '../http/router.ts';
import { CONVERSATION_DEFAULTS } from './defaults.ts';
import { findPerson } from './find-person.ts';
import { idForKey } from './id-for-key.ts';
import type { Projection } from './projection.ts';
import { listConversations, listMembers, readConversation } from './store.ts';

export interface ConversationDeps {
  config: Config;
  db: Database;
  gateway: Gateway;
  accounts: Accounts;
  projection: Projection;
  limits: AttemptLimits;
  commands: CommandLimits;
}
/** The fields of a new conversation that are certain before the projection shows it. */
type Created = Pick<Conversation, 'id' | 'type' | 'role' | 'members_count'> & { name?: string | undefined };

export function conversationRoutes(deps: ConversationDeps): HandlersOf<'conversations'> {
  const { config, db, gateway, commands } = deps;

  return {
    async 'conversations.createDirect'({ me: { user_id, device_id }, body }) {
      commands.countCommandOrThrow(user_id);
      const to = await findPerson(deps, body, user_id);
      if (to === user_id) throw new ApiError('invalid_request', 'body: the person must be another one than yourself');
      const id = directConversationId(user_id, to);
      const existing = await readConversation(db, user_id, id);
      if (existing) return { status: 200, data: existing };
      const { repeated } = await gateway.call({ kind: 'direct', conversation_id: id, user_id, device_id, to });
      const data = await readCreated(deps, user_id, { id, type: 'direct', role: 'member', members_count: 2 });
      return { status: repeated ? 200 : 201, data };
    },

    async 'conversations.create'({ me: { user_id, device_id }, body, idempotency_key }) {
      commands.countCommandOrThrow(user_id);
      const id = idempotency_key === undefined ? uuid7() : idForKey(user_id, idempotency_key);
      const member_ids = [...new Set(body.member_ids)].filter((member) => member !== user_id);
      const members_count = member_ids.length + 1;
      if (members_count > config.GROUP_MAX_MEMBERS)
        throw new ApiError(
          'invalid_request',
          `body: member_ids: a group may have at most ${config.GROUP_MAX_MEMBERS} members`,
          { details: { field: 'member_ids' } },
        );
      const { repeated } = await gateway.call({
        kind: 'create',
        conversation_id: id,
        user_id,
        device_id,
        ...body,
        member_ids,
      });
      const data = await readCreated(deps, user_id, {
        id,
        type: 'group',
        role: 'owner',
        members_count,
        name: body.name,
      });
      return { status: repeated ? 200 : 201, data };
    },

    async 'conversations.list'({ me, query: { limit = 50, cursor } }) {
      const found = await listConversations(db, me.user_id, timeCursor.decode(cursor), limit + 1);
      const data = paginate(found, limit, ({ id, updated_at }) => timeCursor.encode({ at: new Date(updated_at), id }));
      return { status: 200, data };
    },

    async 'conversations.get'({ me, id }) {
      const found = await readConversation(db, me.user_id, id);
      if (!found) throw conversationNotFound();
      return { status: 200, data: found };
    },

    async 'conversations.members.list'({ me, id, query: { limit = 50, cursor } }) {
      await mustBeMember(db, { user_id: me.user_id, conversation_id: id });
      const members = await listMembers(db, id, idCursor.decode(cursor), limit + 1);
      return { status: 200, data: paginate(members, limit, ({ user_id }) => idCursor.encode(user_id)) };
    },
  };
}

/** Reads a new conversation from the projection, or builds the reply from `created` when the projection lags. */
async function readCreated(
  { config, db, projection }: ConversationDeps,
  user_id: string,
  { id, name, ...created }: Created,
): Promise<Conversation> {
  const partition = partitionOf(id, config.PARTITIONS);
  const shown = await projection.waitFor(partition, config.READ_YOUR_WRITES_MS, () =>
    readConversation(db, user_id, id),
  );
  return (
    shown ?? {
      id,
      ...created,
      ...(name !== undefined && { name }),
      ...CONVERSATION_DEFAULTS,
      last_seq: 0,
      read_seq: 0,
      unread_count: 0,
      updated_at: new Date().toISOString(),
    }
  );
}
