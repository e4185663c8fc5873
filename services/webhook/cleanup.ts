/** Deletes finished deliveries older than WEBHOOK_LOG_DAYS and unblocks ordered queues whose head was lost. */
import type { Config } from '../../shared/config/index.ts';
import type { Database } from '../../shared/db/database.ts';
import { DUE_NOW } from '../../shared/webhooks/deliveries.ts';

/** Rows of one statement. */
const BATCH = 5_000;
/** Statements of one run and table, so that a run ends also where much has accumulated. The next run continues. */
const BATCHES = 50;

/** Deletes deliveries of deleted endpoints at once, and finished deliveries, their events and attempts when they are old. */
export async function cleanUpDeliveries(
  db: Database,
  config: Pick<Config, 'WEBHOOK_LOG_DAYS'>,
  nowMs: number,
): Promise<void> {
  const before = new Date(nowMs - config.WEBHOOK_LOG_DAYS * 86_400_000);
  const deleteOld = async (statement: string): Promise<void> => {
    for (let i = 0; i < BATCHES; i++) if ((await db.query(statement, [before, BATCH])).length < BATCH) return;
  };
  // Of endpoints that were deleted while an event was on its way to them. Found by jumps through the index.
  await db.query(
    `with recursive known(id) as (
       (select endpoint_id from webhook_deliveries order by endpoint_id limit 1)
       union all
       select (select d.endpoint_id from webhook_deliveries d where d.endpoint_id > k.id order by d.endpoint_id limit 1)
       from known k where k.id is not null
     ) delete from webhook_deliveries where endpoint_id = any(array(
       select k.id from known k where not exists (select 1 from webhook_endpoints e where e.id = k.id)))`,
  );
  await deleteOld(
    `delete from webhook_deliveries where ctid = any(array(
       select ctid from webhook_deliveries where status <> 'pending' and finished_at < $1 limit $2)) returning 1`,
  );
  // Looked up endpoint by endpoint, as the primary key is ordered; otherwise each event would read all deliveries.
  await deleteOld(
    `delete from webhook_events where id = any(array(
       select v.id from webhook_events v where v.at < $1 and not exists (
         select 1 from webhook_endpoints e cross join lateral (
           select 1 from webhook_deliveries d where d.endpoint_id = e.id and d.event_id = v.id offset 0) d)
       limit $2)) returning 1`,
  );
  await deleteOld(
    `delete from webhook_attempts where id = any(array(
       select id from webhook_attempts where at < $1 limit $2)) returning 1`,
  );
  // When `ordered` of an endpoint changes while a delivery ends, the deliveries behind it may wait for one that is gone.
  await db.query(
    `update webhook_deliveries d set next_at = '${DUE_NOW}' where d.status = 'pending' and d.next_at = 'infinity'
     and not exists (select 1 from webhook_deliveries p where p.endpoint_id = d.endpoint_id
       and p.conversation_id = d.conversation_id and p.status = 'pending' and p.seq < d.seq)`,
  );
}
