/** Migrations, transactions and time-outs of the database connection. */
import type { EntitySchema } from '@mikro-orm/core';
import test from 'ava';
import type { ApiError } from '../../shared/contract/errors.ts';
import { isDuplicate, openDatabase } from '../../shared/db/database.ts';
import { DEVICE_TABLES } from '../../shared/db/device-tables.ts';
import { Device, entities } from '../../shared/db/entities.ts';
import { migrate, requireSchema } from '../../shared/db/migrate.ts';
import { uuid7 } from '../../shared/ids.ts';
import { type Env, startEnv } from '../env/index.ts';

let env: Env;
test.before(async () => {
  env = await startEnv();
});
test.after.always(() => env.stop());

/** Creates an empty database in the same Postgres. */
async function empty(name: string): Promise<Env['config']> {
  await env.db.query(`create database ${name}`);
  const url = new URL(env.config.DATABASE_URL!);
  url.pathname = `/${name}`;
  return { ...env.config, DATABASE_URL: url.href };
}

test('[O01] processes that start simultaneously migrate once, and a migrated database is not changed', async (t) => {
  const config = await empty('at_once');
  const applied = await Promise.all(Array.from({ length: 6 }, () => migrate(config)));
  t.deepEqual(applied.flat().sort(), applied.flat());
  t.is(new Set(applied.flat()).size, applied.flat().length);
  t.true(applied.flat().includes('0001_start'));
  t.deepEqual(await migrate(config), []);
});

test('[O02] services refuse a database that lacks migrations and say what to do', async (t) => {
  const config = await empty('not_migrated');
  const db = await openDatabase(config);
  await t.throwsAsync(requireSchema(db), { message: /lacks 0001_start, .*: run node nats\/provision\.ts/ });
  await migrate(config);
  await t.notThrowsAsync(requireSchema(db));
  await db.query("delete from mikro_orm_migrations where name = '0003_keys'");
  await t.throwsAsync(requireSchema(db), { message: /lacks 0003_keys: run/ });
  await db.close();
});

test('[O01] the entities name only columns that the migrations created', async (t) => {
  const rows = await env.db.query<{ at: string }>(
    `select table_name || '.' || column_name as at from information_schema.columns where table_schema = 'public'`,
  );
  const made = new Set(rows.map((row) => row.at));
  for (const entity of entities) {
    const meta = env.db.orm.getMetadata().find(entity as unknown as EntitySchema)!;
    for (const { fieldNames } of meta.props)
      for (const field of fieldNames) t.true(made.has(`${meta.tableName}.${field}`), field);
  }
});

test('[A11] the list of tables with rows of a device is complete', async (t) => {
  const rows = await env.db.query<{ name: string }>(
    `select distinct table_name as name from information_schema.columns where table_schema = 'public' and column_name = 'device_id'`,
  );
  const kept = ['sessions', 'key_log'];
  t.deepEqual(
    rows
      .map(({ name }) => name)
      .filter((name) => !kept.includes(name))
      .sort(),
    [...DEVICE_TABLES].sort(),
  );
});

test('[O01] values are returned with their types', async (t) => {
  const [row] = await env.db.query(
    `select 9007199254740991::bigint as seq, '2026-01-02T03:04:05.678Z'::timestamptz as at, $1::uuid[] as ids,
       $2::json as literal, $3::bytea as hash, null::bigint as none, (select count(*) from unnest($4::text[])) as n`,
    [['01936f2a-7c1e-7b3a-9f00-0123456789ab'], '{"a":["\\u00e9"]}', Buffer.from([0, 255]), ['{', '"', '\\']],
  );
  t.deepEqual(row, {
    seq: Number.MAX_SAFE_INTEGER,
    at: new Date('2026-01-02T03:04:05.678Z'),
    ids: ['01936f2a-7c1e-7b3a-9f00-0123456789ab'],
    literal: { a: ['é'] },
    hash: Buffer.from([0, 255]),
    none: null,
    n: 3,
  });
});

test('[O01] a transaction that throws is rolled back, and its connection can be used again', async (t) => {
  const add = (fail: boolean) =>
    env.db.transaction(async ({ query }) => {
      await query('insert into device_cursors (device_id, cursor) values ($1, 1)', [uuid7()]);
      if (fail) throw new Error('no');
    });
  for (let i = 0; i < env.config.DATABASE_POOL * 2; i++) await t.throwsAsync(add(true), { message: 'no' });
  await add(false);
  t.deepEqual(await env.db.query('select count(*) from device_cursors'), [{ count: 1 }]);
  const id = uuid7();
  const twice = env.db.query('insert into device_cursors (device_id, cursor) values ($1, 1), ($1, 2)', [id]);
  t.true(isDuplicate(await t.throwsAsync(twice), 'device_cursors_pkey'));
});

test('[O01] entities and SQL of a transaction see what the other wrote, and are rolled back together', async (t) => {
  const db = await openDatabase({ ...env.config, DATABASE_POOL: 1 });
  const [user_id, id] = [uuid7(), uuid7()];
  const name = `O'Neill \\ ? ?? $1 "${'é😀'}"`;
  try {
    const change = (fail: boolean) =>
      db.transaction(async ({ em, query }) => {
        await query('insert into users (id, number) values ($1, $2)', [user_id, '12345678']);
        await em.insert(Device, { id, user_id, name, platform: 'test' });
        t.deepEqual(await query('select name from devices where id = $1', [id]), [{ name }]);
        const device = await em.findOneOrFail(Device, { id });
        t.is(device.name, name);
        device.platform = 'changed';
        await em.flush();
        if (fail) throw new Error('no');
      });
    await t.throwsAsync(change(true), { message: 'no' });
    t.is(await db.em().count(Device, { id }), 0);
    await change(false);
    t.is((await db.em().findOneOrFail(Device, { id })).platform, 'changed');
    const twice = db.em().insert(Device, { id, user_id, name, platform: 'test' });
    t.true(isDuplicate(await t.throwsAsync(twice), 'devices_pkey'));
  } finally {
    await db.close();
  }
});

test('[O01] a statement that takes too long is given up as unavailable, also inside a transaction', async (t) => {
  const db = await openDatabase({ ...env.config, DATABASE_QUERY_TIMEOUT_MS: 1_000, DATABASE_POOL: 1 });
  try {
    const slow = 'select pg_sleep(60)';
    for (const run of [() => db.query(slow), () => db.transaction(({ query }) => query(slow))]) {
      const error = await t.throwsAsync<ApiError>(run() as Promise<never>);
      t.is(error?.code, 'unavailable');
    }
    t.deepEqual(await db.query('select 1 as one'), [{ one: 1 }]);
  } finally {
    await db.close();
  }
});

test('[O01] an idle transaction loses its locks to others and fails as unavailable', async (t) => {
  const db = await openDatabase({ ...env.config, DATABASE_IDLE_TRANSACTION_MS: 200, DATABASE_POOL: 1 });
  try {
    const lock = 'select pg_advisory_xact_lock(42)';
    const stood = db.transaction(async ({ query }) => {
      await query(lock);
      await env.db.transaction(async (other) => void (await other.query(lock)));
      await query('select 1');
    });
    t.is((await t.throwsAsync<ApiError>(stood as Promise<never>))?.code, 'unavailable');
    t.deepEqual(await db.query('select 1 as one'), [{ one: 1 }]);
  } finally {
    await db.close();
  }
});

test('[O01] an unreachable Postgres is reported as unavailable, without a crash', async (t) => {
  const db = await openDatabase({ ...env.config, DATABASE_URL: 'postgres://nobody@127.0.0.1:1/none' });
  const error = await t.throwsAsync<ApiError>(db.query('select 1') as Promise<never>);
  t.is(error?.code, 'unavailable');
  t.is((await t.throwsAsync<ApiError>(db.transaction(async () => 1) as never))?.code, 'unavailable');
  await db.close();
});
