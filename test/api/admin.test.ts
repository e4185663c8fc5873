/** `npm run admin`. */
import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import test from 'ava';
import { admin } from '../../services/admin.ts';
import { postgresUrl } from '../../services/local/postgres.ts';
import { openSecrets } from '../../services/local/secrets.ts';
import { type Env, startEnv, toEnv } from '../env/index.ts';
import { until } from '../env/until.ts';
import { Api, QUICK_HASHING } from './http.ts';

let env: Env;
let api: Api;
test.before(async () => {
  env = await startEnv({ ...QUICK_HASHING, REVOCATION_POLL_MS: 100 });
  api = new Api((await env.start('api')).apiUrl);
});
test.after.always(() => env.stop());

test('[A08] rotating the signing key keeps old tokens valid, and new tokens are signed with the new key', async (t) => {
  const person = await api.register();
  const before = (await api.ask('auth.jwks')).data.keys;
  t.regex(await admin(['rotate-keys'], env.config), /new key/);
  t.is((await api.ask('accounts.get', { token: person.access_token })).status, 200);
  const other = await env.spawn('api');
  const elsewhere = new Api(other.apiUrl);
  const next = await elsewhere.ask('auth.refresh', { body: { refresh_token: person.refresh_token } });
  const kid = (token: string) => JSON.parse(Buffer.from(token.split('.')[0]!, 'base64url').toString()).kid as string;
  t.not(kid(next.data.access_token), kid(person.access_token));
  const keys = (await elsewhere.ask('auth.jwks')).data.keys.map((key) => key.kid);
  t.true(keys.includes(before[0]!.kid) && keys.includes(kid(next.data.access_token)));
  await until(async () => (await api.ask('accounts.get', { token: next.data.access_token })).status === 200);
  await other.stop();
});

test('[A06] a suspended account is logged out and cannot log in until it is reinstated', async (t) => {
  const { user, access_token, refresh_token } = await api.register();
  t.is(await admin(['suspend', user.number], env.config), 'suspended; 1 sessions ended\n');
  await until(async () => (await api.ask('accounts.get', { token: access_token })).status === 401);
  t.is((await api.ask('auth.refresh', { body: { refresh_token } })).status, 401);
  const login = () =>
    api.ask('auth.login', { body: { identifier: user.number, password: 'correct horse', device: { name: 'phone' } } });
  t.is((await login()).error?.code, 'forbidden');
  await admin(['reinstate', user.number], env.config);
  t.is((await login()).status, 200);
  await t.throwsAsync(admin(['suspend', '00000000'], env.config), { message: /no account/ });
});

test('[O01] the admin command exits when its work is done', async (t) => {
  const { user } = await api.register();
  const command = fileURLToPath(new URL('../../services/admin.ts', import.meta.url));
  const options = { env: { PATH: process.env.PATH, ...toEnv(env.config) }, timeout: 40_000 };
  for (const word of ['suspend', 'reinstate']) {
    // It would be killed at the end of that time, and the promise rejected.
    const { stderr } = await promisify(execFile)(process.execPath, [command, word, user.number], options);
    t.is(stderr, '');
  }
});

test('[O01] the admin command uses the system that runs in DATA_DIR, and fails with a reason where none runs', async (t) => {
  t.is(postgresUrl(`${env.dir}/postgres`, openSecrets(env.dir)), env.config.DATABASE_URL!);
  const { DATABASE_URL: _, ...rest } = env.config;
  t.regex(await admin(['reencrypt'], { ...rest, DATABASE_URL: undefined, PERSONAL_KEYS: [] }), /^0 fields/);
  await t.throwsAsync(admin(['reencrypt'], { ...rest, DATABASE_URL: undefined, DATA_DIR: `${env.dir}/none` }), {
    message: /nothing runs in/,
  });
  t.regex(await admin([], env.config), /rotate-keys/);
  await t.throwsAsync(admin(['destroy'], env.config), { message: /no such command/ });
});
