/** Stores webhook endpoints for the API. What it shows of them has no secrets. */
import type { Endpoint } from '../../../shared/contract/http/webhooks.ts';
import type { Database } from '../../../shared/db/database.ts';
import { WebhookEndpoint, type WebhookEndpoint as WebhookEndpointRow } from '../../../shared/db/entities.ts';

export interface EndpointStore {
  countEndpoints(): Promise<number>;
  findEndpoint(id: string): Promise<Endpoint | undefined>;
  listEndpoints(after: string | undefined, limit: number): Promise<Endpoint[]>;
  /** Removes the endpoint with its deliveries and attempts. @returns false when there is no such endpoint */
  removeEndpoint(id: string): Promise<boolean>;
}

/** Shows an endpoint without its encrypted columns, which the entity does not load: of headers it shows the names. */
function toEndpoint(row: WebhookEndpointRow): Endpoint {
  const { description, disabled_reason, failing_since } = row;
  return {
    id: row.id,
    url: row.url,
    event_types: row.event_types ?? null,
    conversation_id: row.conversation_id ?? null,
    header_names: row.header_names,
    ordered: row.ordered,
    max_per_sec: row.max_per_sec ?? null,
    enabled: row.enabled,
    public_key: row.public_key,
    source: row.source,
    created_at: row.created_at.toISOString(),
    updated_at: row.updated_at.toISOString(),
    ...(description != null && { description }),
    ...(disabled_reason != null && { disabled_reason }),
    ...(failing_since && { failing_since: failing_since.toISOString() }),
  };
}

export function openEndpointStore(db: Database): EndpointStore {
  return {
    async countEndpoints() {
      return await db.em().count(WebhookEndpoint);
    },
    async findEndpoint(id) {
      const row = await db.em().findOne(WebhookEndpoint, { id });
      return row ? toEndpoint(row) : undefined;
    },
    async listEndpoints(after, limit) {
      const where = after === undefined ? {} : { id: { $gt: after } };
      return (await db.em().find(WebhookEndpoint, where, { orderBy: { id: 'asc' }, limit })).map(toEndpoint);
    },
    removeEndpoint(id) {
      return db.transaction(async ({ em, query }) => {
        const removed = await em.nativeDelete(WebhookEndpoint, { id });
        await query('delete from webhook_deliveries where endpoint_id = $1', [id]);
        await query('delete from webhook_attempts where endpoint_id = $1', [id]);
        return removed > 0;
      });
    },
  };
}
