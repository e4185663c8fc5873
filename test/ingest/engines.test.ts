/** ingest while Postgres, history or the log are not as it needs them: senders hear so, and nothing is numbered twice. */
import { jetstreamManager } from '@nats-io/jetstream';
import test from 'ava';
import { Gateway } from '../../nats/gateway.ts';
import { consumer, INGRESS, LOG } from '../../nats/topology.ts';
import { ApiError } from '../../shared/contract/errors.ts';
import { type Env, startEnv } from '../env/index.ts';
import { insertPerson, type PersonRow } from '../env/people.ts';
import { until } from '../env/until.ts';
import { directMessage } from '../pipeline/inbox.ts';

const BOUND = 10;
let env: Env;
let gateway: Gateway;
test.beforeEach(async () => {
  env = await startEnv({ PARTITIONS: 1, INGEST_LOOKUP_TIMEOUT_MS: 300, INGEST_MAX_UNPROJECTED: BOUND });
  gateway = new Gateway(await env.nats('edge'), env.config);
});
test.afterEach.always(async () => {
  gateway?.close();
  await env?.stop();
});

const refusal = (error: unknown): string => (error instanceof ApiError ? `${error.code}: ${error.message}` : 'other');
const send = (from: PersonRow, to: PersonRow): Promise<number | string> =>
  gateway.call(directMessage(from, to), '"x"').then(({ seq }) => seq, refusal);
const pair = async (): Promise<[PersonRow, PersonRow]> => [await insertPerson(env), await insertPerson(env)];
test.serial(
  '[M01] while Postgres is down, cached people can send and the others get unavailable at once',
  async (t) => {
    await env.start('ingest', 'fanout', 'history');
    const [[a, b], [c, d]] = [await pair(), await pair()];
    t.is(await send(a, b), 1);
    await env.settle();
    await env.postgres.kill9();
    t.regex(String(await send(c, d)), /^unavailable: the database does not answer/, 'nobody knows them');
    t.is(await send(a, b), 2);
    // The owner of the partition takes it over again, as after any fault: the log has not moved, so it needs no Postgres.
    const manager = await jetstreamManager(await env.nats('admin'));
    const taken = async () =>
      (await manager.consumers.info(INGRESS, consumer.ingest(0)).catch(() => undefined))?.created;
    const before = await taken();
    await manager.consumers.delete(INGRESS, consumer.ingest(0));
    await until(async () => ![undefined, before].includes(await taken()));
    t.is(await send(a, b), 3, 'its memory was kept');
    t.regex(String(await send(c, d)), /^unavailable: the database does not answer/);
    await env.postgres.restart();
    await until(async () => (await send(c, d)) === 1);
    await env.settle();
    const rows = await env.db.query('select 1 from messages');
    t.is(rows.length, 4);
  },
);

test.serial(
  '[M01] an ingest that starts while Postgres is down says so, and takes commands once it is back',
  async (t) => {
    const [a, b] = await pair();
    await env.postgres.kill9();
    await env.start('ingest');
    t.regex(String(await send(a, b)), /^unavailable: the database does not answer/);
    await env.postgres.restart();
    await until(async () => (await send(a, b)) === 1);
  },
);

test.serial('[M01] while history is stopped, senders get unavailable before memory grows without bound', async (t) => {
  await env.start('ingest');
  const [a, b] = await pair();
  for (let seq = 1; seq <= BOUND; seq++) t.is(await send(a, b), seq);
  t.regex(String(await send(a, b)), /^unavailable: history is 10 records behind/);
  await env.start('fanout', 'history');
  await until(async () => (await send(a, b)) === BOUND + 1);
});

test.serial(
  '[M02] a partition whose entries were all removed after history had read them continues its numbering',
  async (t) => {
    await env.start('ingest', 'fanout', 'history');
    const [a, b] = await pair();
    t.is(await send(a, b), 1);
    await env.settle();
    await env.close('ingest');
    const manager = await jetstreamManager(await env.nats('admin'));
    await manager.streams.purge(LOG);
    await env.start('ingest');
    t.is(await send(a, b), 2);
  },
);

test.serial(
  '[M02] [O03] when the log lost entries that history has not read, ingest numbers nothing and says why',
  async (t) => {
    await env.start('ingest');
    const [a, b] = await pair();
    for (let seq = 1; seq <= 3; seq++) t.is(await send(a, b), seq);
    await env.close('ingest');
    const manager = await jetstreamManager(await env.nats('admin'));
    // As the log’s retention would: what is left begins behind what Postgres holds.
    await manager.streams.purge(LOG, { seq: 3 });
    const { opsUrl } = await env.start('ingest');
    t.regex(String(await send(a, b)), /^unavailable: entries 1 to 2 of log partition 0 are gone/);
    const ready = await fetch(`${opsUrl}/ready`);
    t.is(ready.status, 503);
    t.regex(await ready.text(), /entries 1 to 2 of log partition 0 are gone/);
  },
);

test.serial('[M01] a look-up that Postgres does not answer is answered unavailable, and repeated later', async (t) => {
  await env.start('ingest');
  const [a, b] = await pair();
  await env.db.transaction(async ({ query }) => {
    await query('lock table users in access exclusive mode');
    t.regex(String(await send(a, b)), /^unavailable: the database does not answer/);
  });
  await until(async () => (await send(a, b)) === 1);
});
