/** Each service as a process of its own, with its own password of the broker and its own role in the database. */
import { createRequire } from 'node:module';
import test from 'ava';
import { connect } from 'nats';
import { natsPassword } from '../../nats/connect.ts';
import { composeEnv } from '../../services/compose-env.ts';
import { adminToken } from '../../shared/auth/derived.ts';
import { type Config, checkSettingsOf, readConfig } from '../../shared/config/index.ts';
import { type Database, openDatabase } from '../../shared/db/database.ts';
import { grantRoles, roleOf } from '../../shared/db/roles.ts';
import { SERVICE_NAMES, type ServiceName } from '../../shared/service-names.ts';
import { QUICK_HASHING } from '../api/http.ts';
import { read } from '../docs/blocks.ts';
import { type Env, inRole, startEnv } from '../env/index.ts';
import { closeDevices, registerPerson, TestDevice } from '../env/people.ts';
import { until } from '../env/until.ts';

let env: Env;
test.before(async () => {
  env = await startEnv({ ...QUICK_HASHING, AWAY_GRACE_MS: 100 });
  await grantRoles(env.config);
  // Once more, as at the next version.
  await grantRoles(env.config);
});
test.after.always(() => env?.stop());

const secret = (): string => env.config.NATS_SECRET!;
const urlOf = (service: ServiceName): string => inRole(env.config, service).DATABASE_URL!;
/** What docker-compose.yml gives a container. */
const own = (service: ServiceName): Partial<Config> => ({
  NATS_SECRET: '',
  NATS_PASSWORD: natsPassword(secret(), service),
  DATABASE_URL: urlOf(service),
  ...(service === 'api' ? { ADMIN_TOKEN: 'swt_of_the_operator' } : { PERSONAL_KEYS: [], PERSONAL_INDEX_KEYS: [] }),
  ...(['api', 'webhook'].includes(service) ? { WEBHOOK_SECRETS_KEYS: [Buffer.alloc(32, 1).toString('base64')] } : {}),
});

async function as(service: ServiceName, work: (db: Database) => Promise<void>): Promise<void> {
  const db = await openDatabase({ ...env.config, DATABASE_URL: urlOf(service) });
  try {
    await work(db);
  } finally {
    await db.close();
  }
}

test.serial(
  '[O02] log-in, messages, history, events and push work when each service uses its own account',
  async (t) => {
    const processes = await Promise.all(
      SERVICE_NAMES.map(async (service) => [service, await env.spawn(service, own(service))] as const),
    );
    const at = Object.fromEntries(processes);
    const addresses = { apiUrl: at.api!.apiUrl, edgeUrl: at.edge!.edgeUrl };
    const phone = async (): Promise<TestDevice> => new TestDevice(await registerPerson(addresses), addresses.edgeUrl);
    const [alice, bob] = [await phone(), await phone()];
    await Promise.all([alice.connect(), bob.connect()]);
    await alice.send(bob, 'live');
    await until(() => bob.payloads.includes('live'));
    await closeDevices(bob);
    await bob.device.session.call('PUT', `/v1/devices/${bob.device.id}/push`, {
      provider: 'unifiedpush',
      endpoint: 'https://127.0.0.1:9/UP',
    });
    await alice.send(bob, 'kept');
    await env.settle();
    const back = await new TestDevice(bob.device.session, addresses.edgeUrl).connect();
    await until(() => back.payloads.includes('kept'));
    const [{ n }] = (await env.db.query<{ n: number }>('select count(*) as n from messages')) as [{ n: number }];
    t.is(n, 2);
    t.is((await env.db.query('select 1 from push_states')).length, 1);
    const admin = { authorization: 'Bearer swt_of_the_operator' };
    t.is((await fetch(`${addresses.apiUrl}/v1/webhooks/endpoints`, { headers: admin })).status, 200);
    await closeDevices(alice, back);
    for (const [service, one] of processes) {
      t.is((await fetch(`${one.opsUrl}/ready`)).status, 200, service);
      await one.stop();
    }
  },
);

test.serial('[O02] a role reads and writes its own tables and no others', async (t) => {
  const denied = { code: '42501' };
  await as('edge', async ({ query }) => {
    t.deepEqual(await query('select number from users where false'), []);
    for (const sql of [
      'select name from users',
      'select * from users',
      'select * from identifiers',
      'select * from refresh_tokens',
      'select private_sealed from signing_keys',
      'select push from devices',
      'select * from webhook_endpoints',
      'update users set suspended_at = null',
      'insert into messages (id) values (null)',
      'delete from device_cursors',
      'create table mine (n int)',
    ])
      t.like(await t.throwsAsync(query(sql)), denied, sql);
  });
  for (const service of SERVICE_NAMES.filter((name) => name !== 'api'))
    await as(service, async ({ query }) => {
      for (const table of ['identifiers', 'refresh_tokens', 'codes', 'key_backups', 'service_tokens'])
        t.like(await t.throwsAsync(query(`select * from ${table}`)), denied, `${service}: ${table}`);
    });
});

test.serial('[O02] the broker refuses the password of another service', async (t) => {
  const options = { servers: env.config.NATS_URL!, user: 'edge', reconnect: false };
  await t.throwsAsync(connect({ ...options, pass: natsPassword(secret(), 'history') }), { message: /Authorization/ });
  const nc = await connect({ ...options, pass: natsPassword(secret(), 'edge') });
  await nc.close();
  t.pass();
});

test('[O02] NATS_PASSWORD serves one service only, and production derives nothing from NATS_SECRET', (t) => {
  const config = readConfig({ NATS_PASSWORD: 'p' });
  t.notThrows(() => checkSettingsOf(['edge'], config));
  t.throws(() => checkSettingsOf(['edge', 'api'], config), {
    message: /NATS_PASSWORD is the password of one service, and this process runs 2/,
  });
  const production = readConfig({ NODE_ENV: 'production', NATS_URL: 'nats://nats', NATS_SECRET: 's' });
  t.notThrows(() => checkSettingsOf(['edge', 'history'], production));
  t.throws(() => checkSettingsOf(['api'], production), { message: /set ADMIN_TOKEN, WEBHOOK_SECRETS_KEYS$/ });
  t.throws(() => checkSettingsOf(['webhook'], production), { message: /set WEBHOOK_SECRETS_KEYS$/ });
  t.throws(() => adminToken(production), { message: /production refuses a generated admin token/ });
  t.is(adminToken({ ...production, ADMIN_TOKEN: 'mine' }), 'mine');
});

test('[O02] compose-env prints every variable that docker-compose.yml requires, and keeps given ones', (t) => {
  const demanded = new Set([...read('docker-compose.yml').matchAll(/\$\{([A-Z_]+):\?/g)].map(([, name]) => name!));
  const parse = (text: string): Record<string, string> =>
    Object.fromEntries([...text.matchAll(/^([A-Z_]+)=(.+)$/gm)].map(([, name, value]) => [name!, value!]));
  const first = parse(composeEnv({}, readConfig({})));
  t.deepEqual(Object.keys(first).sort(), [...demanded].sort());
  t.notDeepEqual(parse(composeEnv({}, readConfig({}))), first);
  t.deepEqual(parse(composeEnv(first, readConfig(first))), first);
  const { NATS_SECRET, ...others } = first;
  t.deepEqual(
    Object.entries(others).filter(([, value]) => value.includes(NATS_SECRET!)),
    [],
    'no other variable gives the secret away',
  );
  t.is(first.EDGE_NATS_PASSWORD, natsPassword(NATS_SECRET!, 'edge'));
});

test('[O02] only conf and provision get NATS_SECRET, and every service gets a role of its own', (t) => {
  const { load } = createRequire(import.meta.url)('js-yaml') as { load(text: string): unknown };
  const { services } = load(read('docker-compose.yml')) as {
    services: Record<string, { environment?: Record<string, unknown> }>;
  };
  for (const [name, { environment = {} }] of Object.entries(services)) {
    t.is('NATS_SECRET' in environment, ['conf', 'provision'].includes(name), name);
    if (!SERVICE_NAMES.includes(name as ServiceName)) continue;
    t.true(String(environment.DATABASE_URL).startsWith(`postgres://${roleOf(name as ServiceName)}:`), name);
    t.is(environment.NATS_PASSWORD, `\${${name.toUpperCase().replaceAll('-', '_')}_NATS_PASSWORD:?}`);
    t.is('PERSONAL_KEYS' in environment, name === 'api');
    t.is('WEBHOOK_SECRETS_KEYS' in environment, ['api', 'webhook'].includes(name));
  }
});
