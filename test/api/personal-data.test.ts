/** Personal data is encrypted in every table, can be looked up, and moves to new keys by a command. */
import { randomBytes } from 'node:crypto';
import { mkdtempSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'ava';
import { admin } from '../../services/admin.ts';
import { startLocalSystem } from '../../services/local/local-system.ts';
import { openSecrets } from '../../services/local/secrets.ts';
import { openBlindIndex } from '../../shared/auth/blind-index.ts';
import { hasPlainColumns } from '../../shared/auth/encrypted-columns.ts';
import type { Config } from '../../shared/config/index.ts';
import { type Env, startEnv } from '../env/index.ts';
import { PASSWORD } from '../env/people.ts';
import { until } from '../env/until.ts';
import { Api, QUICK_HASHING } from './http.ts';

let env: Env;
let api: Api;
test.before(async () => {
  env = await startEnv({ ...QUICK_HASHING, OTP_DEV_CODE: '123456' });
  api = new Api((await env.start('api')).apiUrl);
});
test.after.always(() => env.stop());

const device = { name: 'phone' };
const password = PASSWORD;
const secret = {
  phone: '+15550100777',
  email: 'nobody.reads.this@example.org',
  username: 'plainly_visible',
  name: 'Nobody Reads This',
  birthdate: '1970-01-31',
};
const key = (): string => randomBytes(32).toString('base64');

/** @returns every row of every table as text */
async function dump(): Promise<string> {
  const tables = await env.db.query<{ name: string }>(
    `select quote_ident(table_name) as name from information_schema.tables where table_schema = 'public'`,
  );
  const texts = await Promise.all(
    tables.map(({ name }) => env.db.query<{ row: string }>(`select r::text as row from ${name} r`)),
  );
  return texts.flatMap((rows) => rows.map(({ row }) => row)).join('\n');
}
const contains = (all: string, text: string): boolean =>
  all.includes(text) || all.includes(Buffer.from(text).toString('hex'));

test.serial('[A09] no table contains phone, email, name or birthdate, yet log-in and profile find them', async (t) => {
  const { data } = await api.ask('auth.register', { body: { ...secret, password, device } });
  t.like(data.user, { name: secret.name, birthdate: secret.birthdate, username: secret.username });
  const all = await dump();
  for (const field of ['phone', 'email', 'name', 'birthdate'] as const) t.false(contains(all, secret[field]), field);
  t.false(contains(all, password));
  t.true(contains(all, secret.username), 'the dump is one of what is there');
  for (const identifier of [secret.phone, secret.email, secret.username])
    t.is((await api.ask('auth.login', { body: { identifier, password, device } })).data.user.id, data.user.id);
});

test.serial('[A09] an encrypted field can be decrypted only in its own row and only unchanged', (t) => {
  const sealer = openBlindIndex(env.config);
  const sealed = sealer.encrypt('Ada', 'users.name:1');
  t.is(sealer.decrypt(sealed, 'users.name:1'), 'Ada');
  t.throws(() => sealer.decrypt(sealed, 'users.name:2'));
  for (let i = 0; i < sealed.length; i++) {
    const changed = Buffer.from(sealed);
    changed[i]! ^= 1;
    t.throws(() => sealer.decrypt(changed, 'users.name:1'));
    t.throws(() => sealer.decrypt(sealed.subarray(0, i), 'users.name:1'));
  }
  t.false(sealer.encrypt('Ada', 'users.name:1').equals(sealed), 'the same text is sealed differently each time');
  t.notDeepEqual(sealer.indexOf('email', 'a'), sealer.indexOf('username', 'a'));
});

test.serial('[A09] missing keys, short keys and keys used for both purposes are refused', (t) => {
  const open = (PERSONAL_KEYS: string[], PERSONAL_INDEX_KEYS: string[]) => () =>
    openBlindIndex({ PERSONAL_KEYS, PERSONAL_INDEX_KEYS });
  const one = key();
  t.throws(open([], [one]), { message: /PERSONAL_KEYS is not set/ });
  t.throws(open([one], ['c2hvcnQ=']), { message: /PERSONAL_INDEX_KEYS must be keys of 32 bytes/ });
  t.throws(open([one], [one]), { message: /must be different keys/ });
});

test.serial(
  '[A09] after a change of keys the command encrypts everything again, and the old keys can be removed',
  async (t) => {
    const many = await Promise.all(
      Array.from({ length: 20 }, (_, i) =>
        api.ask('auth.register', { body: { email: `moved${i}@example.org`, name: `Name ${i}`, password, device } }),
      ),
    );
    const both: Config = {
      ...env.config,
      PERSONAL_KEYS: [key(), ...env.config.PERSONAL_KEYS],
      PERSONAL_INDEX_KEYS: [key(), ...env.config.PERSONAL_INDEX_KEYS],
    };
    const fresh = {
      ...both,
      PERSONAL_KEYS: [both.PERSONAL_KEYS[0]!],
      PERSONAL_INDEX_KEYS: [both.PERSONAL_INDEX_KEYS[0]!],
    };

    // With both keys everything works before the command has run.
    const between = await env.spawn('api', both);
    const login = (url: string) =>
      new Api(url).ask('auth.login', { body: { identifier: 'moved7@example.org', password, device } });
    t.is((await login(between.apiUrl)).data.user.name, 'Name 7');
    // A code requested after the change replaces one requested before it.
    const to = { email: 'moved9@example.org' };
    for (const url of [api.url, between.apiUrl])
      t.is((await new Api(url).ask('auth.otp.request', { body: to })).status, 202);
    const entered = await new Api(between.apiUrl).ask('auth.otp.verify', { body: { ...to, code: '123456', device } });
    t.is(entered.status, 200, entered.error?.message);
    const taken = await new Api(between.apiUrl).ask('auth.register', {
      body: { email: 'moved8@example.org', password, device },
    });
    t.is(taken.error?.code, 'conflict');
    t.regex(await admin(['reencrypt'], both), /^\d\d fields/);
    t.is(await admin(['reencrypt'], both), '0 fields were encrypted or indexed again\n');
    await between.stop();

    const after = await env.spawn('api', fresh);
    const { data } = await login(after.apiUrl);
    t.is(data.user.id, many[7]!.data.user.id);
    t.is(data.user.name, 'Name 7');
    t.is((await login(api.url)).error?.code, 'unauthenticated', 'the old index key finds nothing any more');
    await t.throwsAsync(admin(['reencrypt'], env.config), {
      message: /^0 fields .*; \d\d rows are encrypted with keys/,
    });
    await after.stop();
  },
);

test.serial(
  '[A01] [A09] a hundred simultaneous registrations of one address create one account, even during a change of keys',
  async (t) => {
    const [one, other] = [[key()], env.config.PERSONAL_INDEX_KEYS];
    const [first, second] = await Promise.all([
      env.spawn('api', { PERSONAL_INDEX_KEYS: [...one, ...other] }),
      env.spawn('api', { PERSONAL_INDEX_KEYS: [...other, ...one] }),
    ]);
    const apis = [new Api(first.apiUrl), new Api(second.apiUrl)];
    for (let i = 0; i < 5; i++) {
      const body = { email: `wanted${i}@example.org`, password, device };
      const all = await Promise.all(Array.from({ length: 100 }, (_, n) => apis[n % 2]!.ask('auth.register', { body })));
      t.is(all.filter(({ status }) => status === 201).length, 1);
      t.true(all.every(({ status, error }) => status === 201 || error!.code === 'conflict'));
    }
    await Promise.all([first.stop(), second.stop()]);
  },
);

test.serial('[A09] a log-in hashes the password again when the parameters have changed', async (t) => {
  const person = await api.register();
  const stored = async (): Promise<string> =>
    (
      await env.db.query<{ password_hash: string }>('select password_hash from users where id = $1', [person.user.id])
    )[0]!.password_hash;
  t.regex(await stored(), /m=64,t=1,p=1\$/);
  const stronger = await env.spawn('api', { ARGON2_MEMORY_KIB: 128, ARGON2_PASSES: 2 });
  const login = (pw: string) =>
    new Api(stronger.apiUrl).ask('auth.login', { body: { identifier: person.user.number, password: pw, device } });
  t.is((await login('wrong horse')).status, 401);
  t.regex(await stored(), /m=64,t=1,p=1\$/);
  t.is((await login(password)).status, 200);
  t.regex(await stored(), /^\$argon2id\$v=19\$m=128,t=2,p=1\$/);
  t.is((await login(password)).status, 200);
  await stronger.stop();
});

test.serial('[A09] the api does not start without keys', async (t) => {
  await t.throwsAsync(env.spawn('api', { PERSONAL_KEYS: [] }), { message: /ended while starting/ });
});

test.serial(
  '[A09] production refuses generated keys, and an older DATA_DIR gets new ones and keeps its passwords',
  async (t) => {
    const dir = mkdtempSync(join(env.dir, 'other-'));
    const start = startLocalSystem({
      env: { NODE_ENV: 'production', DATA_DIR: dir, NATS_URL: undefined, DATABASE_URL: undefined },
    });
    await t.throwsAsync(start, { message: /production refuses a generated PERSONAL_KEYS/ });
    const old = { broker: 'b', nats: 'n', postgres: 'p' };
    writeFileSync(join(dir, 'secrets.json'), JSON.stringify(old));
    const secrets = openSecrets(dir);
    t.like(secrets, old);
    t.is(Buffer.from(secrets.personal, 'base64').length, 32);
    t.deepEqual(openSecrets(dir), secrets);
  },
);

test.serial('[A09] rows that an older version stored unencrypted are encrypted when the api starts', async (t) => {
  const { data } = await api.ask('auth.register', {
    body: { email: 'plain@example.org', name: 'X', password, device },
  });
  await env.db.query(
    `update users set name = 'Plain Name', birthdate = '1999-12-31', name_sealed = null where id = $1`,
    [data.user.id],
  );
  await env.db.query(
    `update identifiers set value = 'plain@example.org', sealed = null, lookup = null where user_id = $1`,
    [data.user.id],
  );
  const other = await env.spawn('api');
  await until(async () => !(await hasPlainColumns(env.db)));
  const login = await new Api(other.apiUrl).ask('auth.login', {
    body: { identifier: 'plain@example.org', password, device },
  });
  t.like(login.data.user, { id: data.user.id, name: 'Plain Name', birthdate: '1999-12-31' });
  t.false((await dump()).includes('plain@example.org'));
  await other.stop();
});
