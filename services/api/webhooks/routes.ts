/** Webhook endpoints, their deliveries, and service tokens: what is decided. */

import type { Config } from '../../../shared/config/index.ts';
import { ApiError } from '../../../shared/contract/errors.ts';
import { EVENT_TYPES, type EventName } from '../../../shared/contract/events.ts';
import type { Database } from '../../../shared/db/database.ts';
import { openGuard } from '../../../shared/egress-guard.ts';
import { derivedId, uuid7 } from '../../../shared/ids.ts';
import { type Event, event } from '../../../shared/pipeline/events.ts';
import { again, insertDeliveries } from '../../../shared/webhooks/deliveries.ts';
import { type Checks, insertEndpoint, rotateSecret, updateEndpoint } from '../../../shared/webhooks/endpoints.ts';
import { openSecretsSealing } from '../../../shared/webhooks/secrets.ts';
import type { ServiceTokens } from '../auth/service-tokens.ts';
import { decodeCursor, encodeCursor } from '../http/pagination.ts';
import type { HandlersOf } from '../http/router.ts';
import { openWebhookStore } from './store.ts';

export interface WebhookDeps {
  config: Config;
  db: Database;
  serviceTokens: ServiceTokens;
  /** Tells the workers that something may be due. */
  wake(): void;
}

const gone = (): ApiError => new ApiError('not_found', 'there is no such endpoint');
const found = <T>(value: T | undefined): T => {
  if (value === undefined) throw gone();
  return value;
};
const time = (text: string, field: string): Date => {
  const at = new Date(text);
  if (!/^\d{4}-\d\d-\d\dT/.test(text) || Number.isNaN(at.getTime()))
    throw new ApiError('invalid_request', `body: ${field} is no RFC 3339 time`, { details: { field } });
  return at;
};
const after = (cursor: string | undefined): string | undefined =>
  cursor === undefined ? undefined : decodeCursor(cursor);

export function webhooks({ config, db, serviceTokens, wake }: WebhookDeps): HandlersOf<'webhooks' | 'serviceTokens'> {
  const sealer = openSecretsSealing(config);
  const checks: Checks = { config, guard: openGuard(config, 'WEBHOOK_ALLOW_CIDRS') };
  const store = openWebhookStore(db);

  function paged<T>(rows: T[], limit: number, id: (row: T) => string): { items: T[]; next_cursor: string | null } {
    const items = rows.slice(0, limit);
    return { items, next_cursor: rows.length > limit ? encodeCursor(id(items.at(-1)!)) : null };
  }

  return {
    async 'webhooks.eventTypes.list'() {
      const items = Object.entries(EVENT_TYPES).map(([type, { about, data, example }]) => ({
        type,
        about,
        schema: data as unknown,
        example: example as unknown,
      }));
      return { status: 200, data: { items, next_cursor: null } };
    },

    async 'webhooks.endpoints.create'({ me, body, idempotency_key }) {
      const id = idempotency_key ? derivedId(0, `endpoint ${me.token_id} ${idempotency_key}`) : uuid7();
      const made = idempotency_key && (await store.endpoint(id));
      if (made) return { status: 200, data: made };
      if ((await store.count()) >= config.WEBHOOK_MAX_ENDPOINTS)
        throw new ApiError('forbidden', `there may be ${config.WEBHOOK_MAX_ENDPOINTS} endpoints`);
      const { created, secret } = await insertEndpoint(db.em(), sealer, checks, id, body, 'api');
      const data = found(await store.endpoint(id));
      return created ? { status: 201, data: { ...data, secret: secret! } } : { status: 200, data };
    },

    async 'webhooks.endpoints.list'({ query: { limit = 50, cursor } }) {
      return { status: 200, data: paged(await store.endpoints(after(cursor), limit + 1), limit, ({ id }) => id) };
    },

    async 'webhooks.endpoints.get'({ id }) {
      return { status: 200, data: found(await store.endpoint(id)) };
    },

    async 'webhooks.endpoints.update'({ id, body }) {
      if (!(await updateEndpoint(db.em(), sealer, checks, id, body))) throw gone();
      wake();
      return { status: 200, data: found(await store.endpoint(id)) };
    },

    async 'webhooks.endpoints.delete'({ id }) {
      if (!(await store.remove(id))) throw gone();
      return { status: 200, data: { id } };
    },

    async 'webhooks.endpoints.rotateSecret'({ id, body }) {
      if (found(await store.endpoint(id)).source === 'environment')
        throw new ApiError('conflict', 'the secret of this endpoint stands in CHAT_WEBHOOK_ENDPOINTS_JSON');
      const until = new Date(Date.now() + config.WEBHOOK_SECRET_OVERLAP_HOURS * 3_600_000);
      const rotated = found(await rotateSecret(db.em(), sealer, id, body.secret, until));
      return { status: 200, data: { ...rotated, old_until: until.toISOString() } };
    },

    async 'webhooks.deliveries.list'({ id, query: { limit = 50, cursor, status } }) {
      found(await store.endpoint(id));
      const rows = await store.deliveries(id, after(cursor), limit + 1, status);
      return { status: 200, data: paged(rows, limit, ({ event_id }) => event_id) };
    },

    async 'webhooks.attempts.list'({ id, query: { limit = 50, cursor, event_id } }) {
      found(await store.endpoint(id));
      const rows = await store.attempts(id, after(cursor), limit + 1, event_id);
      return { status: 200, data: paged(rows, limit, (row) => row.id) };
    },

    async 'webhooks.deliveries.resend'({ id, body: { event_id } }) {
      found(await store.endpoint(id));
      if (!(await store.resend(id, event_id)))
        throw new ApiError('not_found', 'there was no delivery of this event to this endpoint');
      wake();
      return { status: 202, data: { event_id } };
    },

    async 'webhooks.deliveries.redrive'({ id, body: { since } }) {
      found(await store.endpoint(id));
      const from = since === undefined ? new Date(0) : time(since, 'since');
      const redriven = await again(
        db.query,
        id,
        `d.status = 'dead' and exists (select 1 from webhook_events v where v.id = d.event_id and v.at >= $2)`,
        [from],
      );
      wake();
      return { status: 202, data: { redriven } };
    },

    async 'webhooks.deliveries.recover'({ id, body }) {
      const { enabled } = found(await store.endpoint(id));
      if (!enabled) throw new ApiError('conflict', 'enable the endpoint first');
      const since = time(body.since, 'since');
      const until = body.until === undefined ? new Date() : time(body.until, 'until');
      if (until < since)
        throw new ApiError('invalid_request', 'body: until is before since', { details: { field: 'until' } });
      return { status: 202, data: { recovery_id: await store.recover(id, since, until) } };
    },

    async 'webhooks.endpoints.test'({ id, body: { event_type: type = 'webhook.test' } }) {
      const { enabled } = found(await store.endpoint(id));
      if (!enabled) throw new ApiError('conflict', 'enable the endpoint first');
      const one = example(type, id);
      await db.transaction(({ query }) => insertDeliveries(query, [{ event: one, endpoint_id: id, ordered: false }]));
      wake();
      return { status: 202, data: { event_id: one.id } };
    },

    async 'webhooks.endpoints.stats'({ id }) {
      found(await store.endpoint(id));
      return { status: 200, data: await store.stats(id) };
    },

    async 'serviceTokens.create'({ body: { name, scopes, expires_in_days } }) {
      return { status: 201, data: await serviceTokens.create(name, scopes, expires_in_days) };
    },

    async 'serviceTokens.list'({ query: { limit = 50, cursor } }) {
      const rows = await serviceTokens.list(after(cursor), limit + 1);
      return { status: 200, data: paged(rows, limit, ({ id }) => id) };
    },

    async 'serviceTokens.delete'({ id }) {
      if (!(await serviceTokens.remove(id))) throw new ApiError('not_found', 'there is no such token');
      return { status: 200, data: { id } };
    },
  };
}

/** Names the endpoint where it tests itself; the ids of other examples belong to nothing. */
function example(type: EventName, endpoint_id: string): Event {
  const data = type === 'webhook.test' ? { endpoint_id } : EVENT_TYPES[type].example;
  return event(type, Date.now(), `test ${uuid7()}`, data as Event['data']);
}
