/** Routes of payment requests in conversations, for people, and of payment events, for operators. */
import type { CommandLimits } from '../../../nats/command-limits.ts';
import type { Gateway } from '../../../nats/gateway.ts';
import type { Config } from '../../../shared/config/index.ts';
import { ApiError } from '../../../shared/contract/errors.ts';
import type { Payment, PaymentState } from '../../../shared/contract/payments.ts';
import type { Database } from '../../../shared/db/database.ts';
import { mustHaveBeenMember } from '../../../shared/db/membership.ts';
import { partitionOf } from '../../../shared/ids.ts';
import type { Metrics } from '../../../shared/metrics.ts';
import type { Projection } from '../conversations/projection.ts';
import { idCursor, paginate, textCursor } from '../http/pagination.ts';
import type { HandlersOf } from '../http/router.ts';
import { inboundRoutes } from './inbound.ts';
import type { PaymentPublisher } from './publisher.ts';
import { attachRequest, listPaymentEvents, listPayments, readPayment, readRequest, toPaymentEvent } from './store.ts';

export interface PaymentDeps {
  config: Config;
  db: Database;
  metrics: Metrics;
  publisher: PaymentPublisher;
  gateway: Gateway;
  projection: Projection;
  commands: CommandLimits;
}
interface RequestState {
  state: PaymentState;
  transfer_id?: string | undefined;
}

export function paymentRoutes(deps: PaymentDeps): HandlersOf<'payments'> {
  const { config, db, publisher, gateway, projection, commands } = deps;

  return {
    ...inboundRoutes(deps),

    async 'payments.attach'({ me: { user_id, device_id }, id: conversation_id, body: { request_id } }) {
      commands.countCommandOrThrow(user_id);
      const writeState = (state: RequestState) =>
        gateway.call({ kind: 'payment', conversation_id, user_id, device_id, request_id, ...state });
      // The log comes first, since only ingest knows for certain who is a member. An unknown request counts as pending.
      const attachment = { request_id, conversation_id, user_id };
      const { now: before, party } = await readRequest(db.query, attachment);
      const { repeated, seq } = await writeState(before);
      const after = await attachRequest(db, attachment, party);
      // The request went forward before the worker knew of this conversation: the conversation has to be told here.
      if (after.state !== before.state) await writeState(after);
      const partition = partitionOf(conversation_id, config.PARTITIONS);
      const shown = await projection.waitFor(partition, config.READ_YOUR_WRITES_MS, () =>
        readPayment(db, conversation_id, request_id),
      );
      const written: Payment = { request_id, conversation_id, ...after, seq, updated_at: new Date().toISOString() };
      return { status: repeated ? 200 : 201, data: shown ?? written };
    },

    async 'payments.list'({ me, id, query: { limit = 50, cursor } }) {
      await mustHaveBeenMember(db, { user_id: me.user_id, conversation_id: id });
      const after = textCursor.decode(cursor) ?? '';
      const found = await listPayments(db, { user_id: me.user_id, conversation_id: id, after, limit: limit + 1 });
      return { status: 200, data: paginate(found, limit, (payment) => textCursor.encode(payment.request_id)) };
    },

    async 'payments.events.list'({ query: { limit = 50, cursor, request_id, applied } }) {
      const unapplied = applied === 'false';
      const rows = await listPaymentEvents(db, {
        before: idCursor.decode(cursor),
        request_id,
        unapplied,
        limit: limit + 1,
      });
      return { status: 200, data: paginate(rows.map(toPaymentEvent), limit, (event) => idCursor.encode(event.id)) };
    },

    async 'payments.events.replay'({ id }) {
      const [found] = await listPaymentEvents(db, { id, limit: 1 });
      if (!found) throw new ApiError('not_found', 'there is no such payment event');
      const { dedupe_key: key, type, request_id } = found;
      await publisher.publish({ key, type, request_id, received_at: found.received_at.getTime(), replay: true });
      return { status: 202, data: toPaymentEvent(found) };
    },
  };
}
