/** Endpoints and deliveries as the API shows them. */
import type { Attempt, Delivery, Endpoint, Stats } from '../../../shared/contract/http/webhooks.ts';
import type { Database } from '../../../shared/db/database.ts';
import { WebhookEndpoint, type WebhookEndpoint as WebhookEndpointRow } from '../../../shared/db/entities.ts';
import { uuid7 } from '../../../shared/ids.ts';
import { DUE_NOW } from '../../../shared/webhooks/deliveries.ts';

const present = (fields: Record<string, unknown>): Record<string, unknown> =>
  Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== null));
const times = (row: Record<string, unknown>): Record<string, unknown> =>
  Object.fromEntries(
    Object.entries(row).map(([key, value]) => [key, value instanceof Date ? value.toISOString() : value]),
  );

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

export interface WebhookStore {
  count(): Promise<number>;
  endpoint(id: string): Promise<Endpoint | undefined>;
  endpoints(after: string | undefined, limit: number): Promise<Endpoint[]>;
  remove(id: string): Promise<boolean>;
  deliveries(id: string, before: string | undefined, limit: number, status: string | undefined): Promise<Delivery[]>;
  attempts(id: string, before: string | undefined, limit: number, event_id: string | undefined): Promise<Attempt[]>;
  /** @returns false where the event was never for that endpoint. */
  resend(id: string, event_id: string): Promise<boolean>;
  recover(id: string, since: Date, until: Date): Promise<string>;
  stats(id: string): Promise<Stats>;
}

export function openWebhookStore(db: Database): WebhookStore {
  return {
    async count() {
      return await db.em().count(WebhookEndpoint);
    },
    async endpoint(id) {
      const row = await db.em().findOne(WebhookEndpoint, { id });
      return row ? toEndpoint(row) : undefined;
    },
    async endpoints(after, limit) {
      const where = after === undefined ? {} : { id: { $gt: after } };
      return (await db.em().find(WebhookEndpoint, where, { orderBy: { id: 'asc' }, limit })).map(toEndpoint);
    },
    remove(id) {
      return db.transaction(async ({ em, query }) => {
        const removed = await em.nativeDelete(WebhookEndpoint, { id });
        await query('delete from webhook_deliveries where endpoint_id = $1', [id]);
        await query('delete from webhook_attempts where endpoint_id = $1', [id]);
        return removed > 0;
      });
    },
    async deliveries(id, before, limit, status) {
      const rows = await db.query(
        `select d.event_id, v.type as event_type, v.at as timestamp, v.conversation_id, d.status, d.attempts,
           case when d.status = 'pending' and isfinite(d.next_at) then d.next_at end as next_at,
           d.finished_at, d.last_status, d.last_error
         from webhook_deliveries d join webhook_events v on v.id = d.event_id
         where d.endpoint_id = $1 and ($2::text is null or d.status = $2)
           and ($3::uuid is null or d.seq < (select seq from webhook_deliveries where endpoint_id = $1 and event_id = $3))
         order by d.seq desc limit $4`,
        [id, status ?? null, before ?? null, limit],
      );
      return rows.map((row) => times(present(row)) as unknown as Delivery);
    },
    async attempts(id, before, limit, event_id) {
      const rows = await db.query(
        `select id, event_id, attempt, at, duration_ms, outcome, status, error, response from webhook_attempts
         where endpoint_id = $1 and ($2::uuid is null or event_id = $2) and ($3::uuid is null or id < $3)
         order by id desc limit $4`,
        [id, event_id ?? null, before ?? null, limit],
      );
      return rows.map((row) => times(present(row)) as unknown as Attempt);
    },
    async resend(id, event_id) {
      // What is under way already stays in its line, and is due now unless it waits for another one.
      const rows = await db.query(
        `update webhook_deliveries set
           next_at = case when status = 'pending' and next_at = 'infinity' then next_at else '${DUE_NOW}' end,
           conversation_id = case when status = 'pending' then conversation_id end,
           attempts = case when status = 'pending' then attempts else 0 end,
           claim = case when status = 'pending' then claim end, status = 'pending', finished_at = null
         where endpoint_id = $1 and event_id = $2 returning 1`,
        [id, event_id],
      );
      return rows.length > 0;
    },
    async recover(id, since, until) {
      const recovery_id = uuid7();
      await db.query('insert into webhook_recoveries (id, endpoint_id, since, until) values ($1, $2, $3, $4)', [
        recovery_id,
        id,
        since,
        until,
      ]);
      return recovery_id;
    },
    async stats(id) {
      const [row] = await db.query<Stats>(
        `select d.pending, d.dead, a.delivered, a.attempts, a.failed_attempts, a.p50_ms, a.p95_ms,
           coalesce(greatest(0, extract(epoch from now() - d.oldest)), 0)::float8 as behind_sec,
           exists (select 1 from webhook_recoveries r where r.endpoint_id = $1 and r.done_at is null) as recovering
         from (select count(*) filter (where status = 'pending') as pending, count(*) filter (where status = 'dead') as dead,
             min(created_at) filter (where status = 'pending') as oldest
           from webhook_deliveries where endpoint_id = $1 and status <> 'delivered') d,
           (select count(*) as attempts, count(*) filter (where outcome = 'delivered') as delivered,
             count(*) filter (where outcome = 'failed') as failed_attempts,
             percentile_cont(0.5) within group (order by duration_ms) as p50_ms,
             percentile_cont(0.95) within group (order by duration_ms) as p95_ms
           from webhook_attempts where endpoint_id = $1 and at > now() - interval '24 hours') a`,
        [id],
      );
      return row!;
    },
  };
}
