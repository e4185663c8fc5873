/** Routes by which integrations see the deliveries to an endpoint, and have events delivered requeueDeliveries. */
import { ApiError } from '../../../shared/contract/errors.ts';
import type { Database } from '../../../shared/db/database.ts';
import { requeueDeliveries } from '../../../shared/webhooks/deliveries.ts';
import { idCursor, paginate } from '../http/pagination.ts';
import type { HandlersOf } from '../http/router.ts';
import { requireEnabled, requireEndpoint } from './requirements.ts';
import type { WebhookStore } from './store.ts';

export interface DeliveryDeps {
  db: Database;
  store: WebhookStore;
  /** Tells the webhook workers that a delivery may be due. */
  wakeWorkers(): void;
}

/** @throws {ApiError} `invalid_request` */
function parseTime(text: string, field: string): Date {
  const at = new Date(text);
  if (!/^\d{4}-\d\d-\d\dT/.test(text) || Number.isNaN(at.getTime()))
    throw new ApiError('invalid_request', `body: ${field} must be an RFC 3339 time`, { details: { field } });
  return at;
}

export function deliveryRoutes(deps: DeliveryDeps): HandlersOf<'webhooks.deliveries' | 'webhooks.attempts'> {
  const { db, store, wakeWorkers } = deps;

  return {
    async 'webhooks.deliveries.list'({ id, query: { limit = 50, cursor, status } }) {
      requireEndpoint(await store.findEndpoint(id));
      const found = await store.listDeliveries(id, idCursor.decode(cursor), limit + 1, status);
      return { status: 200, data: paginate(found, limit, ({ event_id }) => idCursor.encode(event_id)) };
    },

    async 'webhooks.attempts.list'({ id, query: { limit = 50, cursor, event_id } }) {
      requireEndpoint(await store.findEndpoint(id));
      const found = await store.listAttempts(id, idCursor.decode(cursor), limit + 1, event_id);
      return { status: 200, data: paginate(found, limit, (attempt) => idCursor.encode(attempt.id)) };
    },

    async 'webhooks.deliveries.resend'({ id, body: { event_id } }) {
      requireEndpoint(await store.findEndpoint(id));
      if (!(await store.resendDelivery(id, event_id)))
        throw new ApiError('not_found', 'there was no delivery of this event to this endpoint');
      wakeWorkers();
      return { status: 202, data: { event_id } };
    },

    async 'webhooks.deliveries.redrive'({ id, body: { since } }) {
      requireEndpoint(await store.findEndpoint(id));
      const from = since === undefined ? new Date(0) : parseTime(since, 'since');
      const redriven = await requeueDeliveries(
        db.query,
        id,
        `d.status = 'dead' and exists (select 1 from webhook_events v where v.id = d.event_id and v.at >= $2)`,
        [from],
      );
      wakeWorkers();
      return { status: 202, data: { redriven } };
    },

    async 'webhooks.deliveries.recover'({ id, body }) {
      requireEnabled(requireEndpoint(await store.findEndpoint(id)));
      const since = parseTime(body.since, 'since');
      const until = body.until === undefined ? new Date() : parseTime(body.until, 'until');
      if (until < since)
        throw new ApiError('invalid_request', 'body: until must not be before since', { details: { field: 'until' } });
      return { status: 202, data: { recovery_id: await store.insertRecovery(id, since, until) } };
    },
  };
}
