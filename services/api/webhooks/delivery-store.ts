/** Reads deliveries, attempts and statistics of an endpoint for the API, and asks the worker for more attempts. */
import type { Attempt, Delivery, Stats } from '../../../shared/contract/http/webhooks.ts';
import type { Database } from '../../../shared/db/database.ts';
import { uuid7 } from '../../../shared/ids.ts';
import { DUE_NOW } from '../../../shared/webhooks/deliveries.ts';

export interface DeliveryStore {
  /** The newest first, from behind the event `before`. */
  listDeliveries(
    id: string,
    before: string | undefined,
    limit: number,
    status: string | undefined,
  ): Promise<Delivery[]>;
  /** The newest first, from behind the attempt `before`. */
  listAttempts(id: string, before: string | undefined, limit: number, event_id: string | undefined): Promise<Attempt[]>;
  /** Makes a delivery due again. @returns false when the event was never meant for that endpoint */
  resendDelivery(id: string, event_id: string): Promise<boolean>;
  /** Has the worker read the events of that time again. @returns the id of the recovery */
  insertRecovery(id: string, since: Date, until: Date): Promise<string>;
  readStats(id: string): Promise<Stats>;
}

const withoutNulls = (fields: Record<string, unknown>): Record<string, unknown> =>
  Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== null));
const withTimesAsText = (row: Record<string, unknown>): Record<string, unknown> =>
  Object.fromEntries(
    Object.entries(row).map(([key, value]) => [key, value instanceof Date ? value.toISOString() : value]),
  );

export function openDeliveryStore(db: Database): DeliveryStore {
  return {
    async listDeliveries(id, before, limit, status) {
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
      return rows.map((row) => withTimesAsText(withoutNulls(row)) as unknown as Delivery);
    },
    async listAttempts(id, before, limit, event_id) {
      const rows = await db.query(
        `select id, event_id, attempt, at, duration_ms, outcome, status, error, response from webhook_attempts
         where endpoint_id = $1 and ($2::uuid is null or event_id = $2) and ($3::uuid is null or id < $3)
         order by id desc limit $4`,
        [id, event_id ?? null, before ?? null, limit],
      );
      return rows.map((row) => withTimesAsText(withoutNulls(row)) as unknown as Attempt);
    },
    async resendDelivery(id, event_id) {
      // A pending delivery keeps its place in an ordered queue, and is due now unless it waits for an earlier one.
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
    async insertRecovery(id, since, until) {
      const recovery_id = uuid7();
      await db.query('insert into webhook_recoveries (id, endpoint_id, since, until) values ($1, $2, $3, $4)', [
        recovery_id,
        id,
        since,
        until,
      ]);
      return recovery_id;
    },
    async readStats(id) {
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
