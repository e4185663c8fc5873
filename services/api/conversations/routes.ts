/** Conversations over HTTP: made through the log, read from its projection. */
import { createHash } from 'node:crypto';
import type { CommandLimits } from '../../../nats/command-limits.ts';
import type { Gateway } from '../../../nats/gateway.ts';
import type { Limits } from '../../../shared/auth/attempt-limits.ts';
import type { Config } from '../../../shared/config/index.ts';
import { ApiError } from '../../../shared/contract/errors.ts';
import type { DirectBody } from '../../../shared/contract/http/conversations.ts';
import type { Conversation } from '../../../shared/contract/objects.ts';
import type { Database } from '../../../shared/db/database.ts';
import { mustBeMember, noConversation } from '../../../shared/db/message-queries.ts';
import { directConversationId, partitionOf, uuid7, uuid7Time } from '../../../shared/ids.ts';
import { normalise } from '../accounts/identifiers.ts';
import type { Accounts } from '../accounts/store.ts';
import { decodeCursor, decodeTimeCursor, encodeCursor } from '../http/pagination.ts';
import type { HandlersOf } from '../http/router.ts';
import type { Projection } from './projection.ts';
import { listConversations, listMembers, readConversation } from './store.ts';

export interface ConversationDeps {
  config: Config;
  db: Database;
  gateway: Gateway;
  accounts: Accounts;
  projection: Projection;
  limits: Limits;
  commands: CommandLimits;
}

/** The same id for the same key of the same person: a repeated request makes nothing new. */
export function idForKey(user_id: string, key: string): string {
  const h = createHash('sha256').update(`create:${user_id}:${key}`).digest('hex');
  const ms = uuid7Time(user_id).toString(16).padStart(12, '0');
  const variant = ((Number.parseInt(h[3]!, 16) & 3) | 8).toString(16);
  return `${ms.slice(0, 8)}-${ms.slice(8)}-7${h.slice(0, 3)}-${variant}${h.slice(4, 7)}-${h.slice(7, 19)}`;
}

export function conversations(deps: ConversationDeps): HandlersOf<'conversations'> {
  const { config, db, gateway, accounts, projection, limits, commands } = deps;

  async function personOf(body: DirectBody, me: string): Promise<string> {
    const { user_id, number, phone, email } = body;
    if ([user_id, number, phone, email].filter((one) => one !== undefined).length !== 1)
      throw new ApiError('invalid_request', 'body: exactly one of user_id, number, phone and email names the person');
    if (user_id === undefined) await limits.find(me);
    const id =
      user_id !== undefined
        ? (await accounts.user(user_id))?.id
        : number !== undefined
          ? (await accounts.find({ kind: 'number', value: number }))?.id
          : phone !== undefined
            ? (await accounts.find({ kind: 'phone', value: normalise('phone', phone) }))?.id
            : (await accounts.find({ kind: 'email', value: normalise('email', email!) }))?.id;
    if (!id) throw new ApiError('not_found', 'there is no such person');
    return id;
  }

  /** What the projection shows, or what is certain already where it lags. */
  async function written(
    user_id: string,
    otherwise: Pick<Conversation, 'id' | 'type' | 'role' | 'members_count'> & { name?: string | undefined },
  ): Promise<Conversation> {
    const { id, name, ...rest } = otherwise;
    const partition = partitionOf(id, config.PARTITIONS);
    const seen = await projection.until(partition, config.READ_YOUR_WRITES_MS, () => readConversation(db, user_id, id));
    return (
      seen ?? {
        id,
        ...rest,
        ...(name !== undefined && { name }),
        visibility: 'private',
        slow_mode_sec: 0,
        last_seq: 0,
        read_seq: 0,
        unread_count: 0,
        muted: false,
        archived: false,
        updated_at: new Date().toISOString(),
      }
    );
  }

  return {
    async 'conversations.createDirect'({ me: { user_id, device_id }, body }) {
      commands.countCommandOrThrow(user_id);
      const to = await personOf(body, user_id);
      if (to === user_id) throw new ApiError('invalid_request', 'body: a conversation needs another person');
      const id = directConversationId(user_id, to);
      const known = await readConversation(db, user_id, id);
      if (known) return { status: 200, data: known };
      const { repeated } = await gateway.call({ kind: 'direct', conversation_id: id, user_id, device_id, to });
      const data = await written(user_id, { id, type: 'direct', role: 'member', members_count: 2 });
      return { status: repeated ? 200 : 201, data };
    },

    async 'conversations.create'({ me: { user_id, device_id }, body, idempotency_key }) {
      commands.countCommandOrThrow(user_id);
      const id = idempotency_key === undefined ? uuid7() : idForKey(user_id, idempotency_key);
      const member_ids = [...new Set(body.member_ids)].filter((member) => member !== user_id);
      if (member_ids.length + 1 > config.GROUP_MAX_MEMBERS)
        throw new ApiError(
          'invalid_request',
          `body: member_ids: a group has at most ${config.GROUP_MAX_MEMBERS} members`,
          {
            details: { field: 'member_ids' },
          },
        );
      const { repeated } = await gateway.call({
        kind: 'create',
        conversation_id: id,
        user_id,
        device_id,
        ...body,
        member_ids,
      });
      const members_count = member_ids.length + 1;
      const data = await written(user_id, { id, type: 'group', role: 'owner', members_count, name: body.name });
      return { status: repeated ? 200 : 201, data };
    },

    async 'conversations.list'({ me, query: { limit = 50, cursor } }) {
      const before = cursor === undefined ? undefined : decodeTimeCursor(cursor);
      const found = await listConversations(db, me.user_id, before, limit + 1);
      const items = found.slice(0, limit);
      const last = items.at(-1);
      const next_cursor = found.length > limit ? encodeCursor(last!.id, new Date(last!.updated_at)) : null;
      return { status: 200, data: { items, next_cursor } };
    },

    async 'conversations.get'({ me, id }) {
      const found = await readConversation(db, me.user_id, id);
      if (!found) throw noConversation();
      return { status: 200, data: found };
    },

    async 'conversations.members.list'({ me, id, query: { limit = 50, cursor } }) {
      await mustBeMember(db, { user_id: me.user_id, conversation_id: id });
      const found = await listMembers(db, id, cursor === undefined ? undefined : decodeCursor(cursor), limit + 1);
      const items = found.slice(0, limit);
      return {
        status: 200,
        data: { items, next_cursor: found.length > limit ? encodeCursor(items.at(-1)!.user_id) : null },
      };
    },
  };
}
