/** Routes of messages: the same commands as over the socket, and the history of a conversation. */
import type { CommandLimits } from '../../../nats/command-limits.ts';
import type { Gateway } from '../../../nats/gateway.ts';
import { checkSignature } from '../../../shared/auth/signatures.ts';
import type { Config } from '../../../shared/config/index.ts';
import type { Database } from '../../../shared/db/database.ts';
import { readPageByNumber, readPageBySeq } from '../../../shared/db/message-queries.ts';
import { sealed } from '../../../shared/pipeline/sealed.ts';
import { seqCursor } from '../http/pagination.ts';
import type { HandlersOf } from '../http/router.ts';

export interface MessageDeps {
  config: Config;
  db: Database;
  gateway: Gateway;
  commands: CommandLimits;
}

export function messageRoutes({ config, db, gateway, commands }: MessageDeps): HandlersOf<'messages'> {
  return {
    async 'messages.send'({ me: { user_id, device_id }, id: conversation_id, body }) {
      commands.countCommandOrThrow(user_id);
      const bytes = sealed(body, config.MESSAGE_MAX_BYTES);
      const { payload, envelopes, ...fields } = body;
      const { signature, client_message_id } = fields;
      if (signature !== undefined)
        await checkSignature(db, device_id, { conversation_id, client_message_id, payload, envelopes, signature });
      const answer = await gateway.call(
        {
          kind: 'send',
          conversation_id,
          user_id,
          device_id,
          ...fields,
          envelopes: envelopes?.map(({ payload: _sealed, ...to }) => to),
        },
        bytes,
      );
      const data = { message_id: answer.message_id, seq: answer.seq, status: 'queued' as const };
      return { status: answer.repeated ? 200 : 202, data };
    },

    async 'messages.markRead'({ me: { user_id, device_id }, id, body: { seq } }) {
      commands.countCommandOrThrow(user_id);
      await gateway.call({ kind: 'read', conversation_id: id, user_id, device_id, seq });
      return { status: 200, data: { conversation_id: id, seq } };
    },

    async 'messages.list'({ me: { user_id, device_id }, id, query }) {
      const reader = { user_id, device_id, conversation_id: id };
      const { page, per_page = 50, limit = 50, cursor, ...given } = query;
      if (page !== undefined || query.per_page !== undefined)
        return { status: 200, data: await readPageByNumber(db, { ...reader, page: page ?? 1, per_page }) };
      const range = { ...given, ...seqCursor.decode(cursor) };
      const max_bytes = config.HISTORY_MAX_PAGE_BYTES;
      // Not cut by `paginate`: a page ends at `max_bytes` as well as at `limit`.
      const { messages: items, more } = await readPageBySeq(db, { ...reader, ...range, limit, max_bytes });
      const last = items.at(-1)?.seq ?? 0;
      const position = range.after_seq === undefined ? { before_seq: last } : { after_seq: last };
      return { status: 200, data: { items, next_cursor: more ? seqCursor.encode(position) : null } };
    },
  };
}
