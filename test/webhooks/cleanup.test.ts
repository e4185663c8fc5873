/** The cleanup deletes what is finished and old, and keeps what waits. */
import test from 'ava';
import { cleanUpDeliveries } from '../../services/webhook/cleanup.ts';
import { uuid7 } from '../../shared/ids.ts';
import { event } from '../../shared/pipeline/events.ts';
import { insertDeliveries } from '../../shared/webhooks/deliveries.ts';
import { insertEndpoint } from '../../shared/webhooks/endpoints.ts';
import { openWebhookEncryption } from '../../shared/webhooks/secrets.ts';
import { type Env, startEnv } from '../env/index.ts';

let env: Env;
test.before(async () => {
  env = await startEnv();
});
test.after.always(() => env?.stop());

test('[W05] finished deliveries are deleted after WEBHOOK_LOG_DAYS, waiting ones are kept, and blocked queues continue', async (t) => {
  const { db, config } = env;
  const day = 86_400_000;
  const [endpoint, gone, conversation] = [uuid7(), uuid7(), uuid7()];
  const checks = { config, guard: () => true };
  await insertEndpoint(db.em(), openWebhookEncryption(config), checks, endpoint, { url: 'https://192.0.2.1/' }, 'api');
  /** Inserts a delivery of this many days ago, finished then unless it is pending. */
  const delivery = async (of: string, days: number, status: string, ordered = false): Promise<string> => {
    const at = Date.now() - days * day;
    const one = event('webhook.test', at, uuid7(), { endpoint_id: of }, ordered ? conversation : undefined);
    await db.transaction(({ query }) => insertDeliveries(query, [{ event: one, endpoint_id: of, ordered }]));
    const over = status === 'pending' ? null : new Date(at);
    await db.query('update webhook_deliveries set status = $2, finished_at = $3 where event_id = $1', [
      one.id,
      status,
      over,
    ]);
    await db.query(
      `insert into webhook_attempts (id, endpoint_id, event_id, attempt, at, duration_ms, outcome)
       values ($1, $2, $3, 1, $4, 1, 'failed')`,
      [uuid7(), of, one.id, new Date(at)],
    );
    return one.id;
  };
  const old = [await delivery(endpoint, 31, 'delivered'), await delivery(endpoint, 31, 'dead')];
  const kept = [
    await delivery(endpoint, 29, 'delivered'),
    await delivery(endpoint, 29, 'dead'),
    await delivery(endpoint, 31, 'pending'),
  ];
  const orphan = await delivery(gone, 0, 'pending');
  // The head of the ordered queue is finished, but the next one was not unblocked.
  const first = await delivery(endpoint, 0, 'pending', true);
  const behind = await delivery(endpoint, 0, 'pending', true);
  await db.query(`update webhook_deliveries set status = 'delivered', finished_at = now() where event_id = $1`, [
    first,
  ]);

  await cleanUpDeliveries(db, config, Date.now());
  const ids = async (statement: string): Promise<string[]> =>
    (await db.query<{ id: string }>(statement)).map(({ id }) => id).sort();
  const left = [...kept, first, behind].sort();
  t.deepEqual(await ids('select event_id as id from webhook_deliveries'), left);
  const events = await ids('select id from webhook_events');
  t.deepEqual(
    old.filter((id) => events.includes(id)),
    [],
  );
  t.deepEqual(
    left.filter((id) => !events.includes(id)),
    [],
  );
  t.deepEqual(
    await ids('select event_id as id from webhook_attempts'),
    [kept[0], kept[1], orphan, first, behind].sort() as string[],
  );
  const due = await ids(`select event_id as id from webhook_deliveries where status = 'pending' and next_at <= now()`);
  t.true(due.includes(behind));
});
