/** Messages over HTTP: the same commands as over the socket. */
import type { CommandLimits } from '../../../nats/command-limits.ts';
import type { Gateway } from '../../../nats/gateway.ts';
import { checkSignature } from '../../../shared/auth/signatures.ts';
import type { Config } from '../../../shared/config/index.ts';
import type { Database } from '../../../shared/db/database.ts';
import { pageByNumber, pageBySeq } from '../../../shared/db/message-queries.ts';
import { sealed } from '../../../shared/pipeline/sealed.ts';
import { decodeSeqCursor, encodeSeqCursor } from '../http/pagination.ts';
import type { HandlersOf } from '../http/router.ts';

export interface MessageDeps {
  config: Config;
  db: Database;
  gateway: Gateway;
  commands: CommandLimits;
}

export function messages({ config, db, gateway, commands }: MessageDeps): HandlersOf<'messages'> {
  return {
    async 'messages.send'({ me: { user_id, device_id }, id, body }) {
      commands.countCommandOrThrow(user_id);
      const bytes = sealed(body, config.MESSAGE_MAX_BYTES);
      const { payload: _, envelopes, ...rest } = body;
      const { signature, client_message_id, payload, envelopes: all } = body;
      if (signature !== undefined)
        await checkSignature(db, device_id, {
          conversation_id: id,
          client_message_id,
          payload,
          envelopes: all,
          signature,
        });
      const answer = await gateway.call(
        {
          kind: 'send',
          conversation_id: id,
          user_id,
          device_id,
          ...rest,
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
        return { status: 200, data: await pageByNumber(db, { ...reader, page: page ?? 1, per_page }) };
      const range = { ...given, ...(cursor !== undefined && decodeSeqCursor(cursor)) };
      const max_bytes = config.HISTORY_MAX_PAGE_BYTES;
      const { messages: items, more } = await pageBySeq(db, { ...reader, ...range, limit, max_bytes });
      const direction = range.after_seq === undefined ? 'before' : 'after';
      return { status: 200, data: { items, next_cursor: more ? encodeSeqCursor(direction, items.at(-1)!.seq) : null } };
    },
  };
}
