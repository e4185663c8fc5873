/** Routes by which integrations manage their webhook endpoints, and read which types of events there are. */
import type { Config } from '../../../shared/config/index.ts';
import { ApiError } from '../../../shared/contract/errors.ts';
import { EVENT_TYPES, type EventName } from '../../../shared/contract/events.ts';
import type { Database } from '../../../shared/db/database.ts';
import { openEgressGuard } from '../../../shared/egress-guard.ts';
import { derivedId, uuid7 } from '../../../shared/ids.ts';
import { type Event, event } from '../../../shared/pipeline/events.ts';
import { insertDeliveries } from '../../../shared/webhooks/deliveries.ts';
import {
  type EndpointChecks,
  insertEndpoint,
  rotateSecret,
  updateEndpoint,
} from '../../../shared/webhooks/endpoints.ts';
import { openWebhookEncryption } from '../../../shared/webhooks/secrets.ts';
import { idCursor, paginate } from '../http/pagination.ts';
import type { HandlersOf } from '../http/router.ts';
import { noSuchEndpoint, requireEnabled, requireEndpoint } from './requirements.ts';
import type { WebhookStore } from './store.ts';

export interface EndpointDeps {
  config: Config;
  db: Database;
  store: WebhookStore;
  /** Tells the webhook workers that a delivery may be due. */
  wakeWorkers(): void;
}

/** Example data names ids that exist nowhere, except that `webhook.test` names the endpoint that it tests. */
function exampleEvent(type: EventName, endpoint_id: string): Event {
  const data = type === 'webhook.test' ? { endpoint_id } : EVENT_TYPES[type].example;
  return event(type, Date.now(), `test ${uuid7()}`, data as Event['data']);
}

export function endpointRoutes(deps: EndpointDeps): HandlersOf<'webhooks.eventTypes' | 'webhooks.endpoints'> {
  const { config, db, store, wakeWorkers } = deps;
  const encryption = openWebhookEncryption(config);
  const checks: EndpointChecks = { config, guard: openEgressGuard(config, 'WEBHOOK_ALLOW_CIDRS') };

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
      const existing = idempotency_key && (await store.findEndpoint(id));
      if (existing) return { status: 200, data: existing };
      if ((await store.countEndpoints()) >= config.WEBHOOK_MAX_ENDPOINTS)
        throw new ApiError(
          'forbidden',
          `there may be at most ${config.WEBHOOK_MAX_ENDPOINTS} endpoints: delete one, or raise WEBHOOK_MAX_ENDPOINTS`,
        );
      const { created, secret } = await insertEndpoint(db.em(), encryption, checks, id, body, 'api');
      const data = requireEndpoint(await store.findEndpoint(id));
      return created ? { status: 201, data: { ...data, secret: secret! } } : { status: 200, data };
    },

    async 'webhooks.endpoints.list'({ query: { limit = 50, cursor } }) {
      const found = await store.listEndpoints(idCursor.decode(cursor), limit + 1);
      return { status: 200, data: paginate(found, limit, ({ id }) => idCursor.encode(id)) };
    },

    async 'webhooks.endpoints.get'({ id }) {
      return { status: 200, data: requireEndpoint(await store.findEndpoint(id)) };
    },

    async 'webhooks.endpoints.update'({ id, body }) {
      if (!(await updateEndpoint(db.em(), encryption, checks, id, body))) throw noSuchEndpoint();
      wakeWorkers();
      return { status: 200, data: requireEndpoint(await store.findEndpoint(id)) };
    },

    async 'webhooks.endpoints.delete'({ id }) {
      if (!(await store.removeEndpoint(id))) throw noSuchEndpoint();
      return { status: 200, data: { id } };
    },

    async 'webhooks.endpoints.rotateSecret'({ id, body }) {
      if (requireEndpoint(await store.findEndpoint(id)).source === 'environment')
        throw new ApiError('conflict', 'the endpoint comes from CHAT_WEBHOOK_ENDPOINTS_JSON: change its secret there');
      const until = new Date(Date.now() + config.WEBHOOK_SECRET_OVERLAP_HOURS * 3_600_000);
      const rotated = requireEndpoint(await rotateSecret(db.em(), encryption, id, body.secret, until));
      return { status: 200, data: { ...rotated, old_until: until.toISOString() } };
    },

    async 'webhooks.endpoints.test'({ id, body: { event_type: type = 'webhook.test' } }) {
      requireEnabled(requireEndpoint(await store.findEndpoint(id)));
      const example = exampleEvent(type, id);
      await db.transaction(({ query }) =>
        insertDeliveries(query, [{ event: example, endpoint_id: id, ordered: false }]),
      );
      wakeWorkers();
      return { status: 202, data: { event_id: example.id } };
    },

    async 'webhooks.endpoints.stats'({ id }) {
      requireEndpoint(await store.findEndpoint(id));
      return { status: 200, data: await store.readStats(id) };
    },
  };
}
