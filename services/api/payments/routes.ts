/** Payment requests in conversations, for people; payment events, for operators. */
import type { CommandLimits } from '../../../nats/command-limits.ts';
import type { Gateway } from '../../../nats/gateway.ts';
import type { Config } from '../../../shared/config/index.ts';
import { ApiError } from '../../../shared/contract/errors.ts';
import type { Payment, PaymentState } from '../../../shared/contract/payments.ts';
import type { Database } from '../../../shared/db/database.ts';
import { mustHaveBeenMember } from '../../../shared/db/message-queries.ts';
import { partitionOf } from '../../../shared/ids.ts';
import type { Projection } from '../conversations/projection.ts';
import { decodeCursor, decodeTextCursor, encodeCursor, encodeTextCursor } from '../http/pagination.ts';
import type { HandlersOf } from '../http/router.ts';
import type { PaymentPublisher } from './publisher.ts';
import { listEvents, listPayments, place, readPayment, readRequest, toEvent } from './store.ts';

export interface PaymentDeps {
  config: Config;
  db: Database;
  queue: PaymentPublisher;
  gateway: Gateway;
  projection: Projection;
  commands: CommandLimits;
}

export function payments(deps: PaymentDeps): HandlersOf<'payments.attach' | 'payments.list' | 'payments.events'> {
  const { config, db, queue, gateway, projection, commands } = deps;
  type Now = { state: PaymentState; transfer_id?: string | undefined };

  return {
    async 'payments.attach'({ me: { user_id, device_id }, id: conversation_id, body: { request_id } }) {
      commands.countCommandOrThrow(user_id);
      const put = (now: Now) =>
        gateway.call({ kind: 'payment', conversation_id, user_id, device_id, request_id, ...now });
      // The log first: it knows for certain who is a member. A request nobody has told us of yet is pending.
      const placing = { request_id, conversation_id, user_id };
      const { now: before, party } = await readRequest(db.query, placing);
      const { repeated, seq } = await put(before);
      const after = await place(db, placing, party);
      // It went forward meanwhile, and the worker did not know of this conversation yet.
      if (after.state !== before.state) await put(after);
      const written = await projection.until(
        partitionOf(conversation_id, config.PARTITIONS),
        config.READ_YOUR_WRITES_MS,
        () => readPayment(db, conversation_id, request_id),
      );
      const otherwise: Payment = { request_id, conversation_id, ...after, seq, updated_at: new Date().toISOString() };
      return { status: repeated ? 200 : 201, data: written ?? otherwise };
    },

    async 'payments.list'({ me, id, query: { limit = 50, cursor } }) {
      await mustHaveBeenMember(db, { user_id: me.user_id, conversation_id: id });
      const after = cursor === undefined ? '' : decodeTextCursor(cursor);
      const found = await listPayments(db, { user_id: me.user_id, conversation_id: id, after, limit: limit + 1 });
      const items = found.slice(0, limit);
      const next_cursor = found.length > limit ? encodeTextCursor(items.at(-1)!.request_id) : null;
      return { status: 200, data: { items, next_cursor } };
    },

    async 'payments.events.list'({ query: { limit = 50, cursor, request_id, applied } }) {
      const before = cursor === undefined ? undefined : decodeCursor(cursor);
      const unapplied = applied === 'false';
      const found = await listEvents(db, { before, request_id, unapplied, limit: limit + 1 });
      const items = found.slice(0, limit);
      const next_cursor = found.length > limit ? encodeCursor(items.at(-1)!.id) : null;
      return { status: 200, data: { items: items.map(toEvent), next_cursor } };
    },

    async 'payments.events.replay'({ id }) {
      const [found] = await listEvents(db, { id, limit: 1 });
      if (!found) throw new ApiError('not_found', 'there is no such payment event');
      const { dedupe_key: key, type, request_id } = found;
      await queue.add({ key, type, request_id, received_at: found.received_at.getTime(), replay: true });
      return { status: 202, data: toEvent(found) };
    },
  };
}
