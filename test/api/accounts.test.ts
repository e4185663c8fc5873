import test from 'ava';
import { type Env, startEnv } from '../env/index.ts';
import { PASSWORD } from '../env/people.ts';
import { Api, QUICK_HASHING } from './http.ts';

let env: Env;
let api: Api;
test.before(async () => {
  env = await startEnv(QUICK_HASHING);
  api = new Api((await env.start('api')).apiUrl);
});
test.after.always(() => env.stop());

const device = { name: 'phone', platform: 'ios' };
const password = PASSWORD;

test('[A01] registering returns an account with its number, its first device with its key, and tokens', async (t) => {
  const { status, data } = await api.ask('auth.register', {
    body: {
      email: 'Ada@Example.org',
      phone: '+1 (555) 010-0123',
      username: 'Ada',
      password,
      name: 'Ada L.',
      device: { ...device, push: { provider: 'apns', token: '00aa11bb' } },
      keys: { identity_key: 'S0FZ', registration_id: 7 },
    },
  });
  t.is(status, 201);
  t.regex(data.user.number, /^[1-9][0-9]{7}$/);
  t.is(data.user.username, 'ada');
  t.is(data.user.name, 'Ada L.');
  t.is(data.device.user_id, data.user.id);
  t.is(data.device.identity_key, 'S0FZ');
  const me = await api.ask('accounts.get', { token: data.access_token });
  t.deepEqual(me.data, data.user);
  for (const identifier of ['ada@EXAMPLE.org', ' +15550100123', 'ADA', data.user.number]) {
    const login = await api.ask('auth.login', { body: { identifier, password, device } });
    t.is(login.status, 200, identifier);
    t.is(login.data.user.id, data.user.id);
  }
});

test('[A01] the password is stored as an Argon2id hash', async (t) => {
  const { user } = await api.register({ password: 'not to be found' });
  const [row] = await env.db.query<{ password_hash: string }>('select password_hash from users where id = $1', [
    user.id,
  ]);
  t.regex(row!.password_hash, /^\$argon2id\$v=19\$m=64,t=1,p=1\$/);
});

test('[A01] a hundred simultaneous registrations of one identifier create one account', async (t) => {
  const body = { username: 'the_one', email: 'one@example.org', password, device };
  const all = await Promise.all(Array.from({ length: 100 }, () => api.ask('auth.register', { body })));
  t.is(all.filter((one) => one.status === 201).length, 1);
  t.is(all.filter((one) => one.error?.code === 'conflict').length, 99);
  const rows = await env.db.query(`select id from users where username = 'the_one'`);
  t.is(rows.length, 1);
});

test('[A01] a conflict on the second identifier rolls back the whole registration', async (t) => {
  await api.register({ username: 'taken', email: 'taken@example.org' });
  const { error } = await api.ask('auth.register', {
    body: { username: 'free_still', email: 'TAKEN@example.org', password, device },
  });
  t.is(error?.code, 'conflict');
  t.deepEqual(error?.details, { field: 'email' });
  t.is((await api.ask('auth.register', { body: { username: 'free_still', password, device } })).status, 201);
});

test('[A01] invalid identifiers, passwords and fields are refused with the name of the field', async (t) => {
  const cases: [Record<string, unknown>, string][] = [
    [{ password, device }, 'phone, email or username is missing'],
    [{ phone: '0555', password, device }, 'phone'],
    [{ email: 'nobody', password, device }, 'email'],
    [{ username: '12345678', password, device }, 'username'],
    [{ username: 'short_pw', password: 'seven77', device }, 'password'],
    [{ username: 'has_number', number: '12345678', password, device }, 'number is not a known field'],
    [{ username: 'no_device', password }, 'device is missing'],
    [{ username: 'deep', password, device: { ...device, colour: 'red' } }, 'device.colour is not a known field'],
    [{ username: 'no_day', password, device, birthdate: '2001-02-29' }, 'birthdate'],
    [{ username: 'nul', password, device, name: 'a\0b' }, 'name must not contain U+0000'],
  ];
  for (const [body, words] of cases) {
    const { error } = await api.ask('auth.register', { body });
    t.is(error?.code, 'invalid_request', words);
    t.true(error?.message.includes(words), error?.message);
  }
});

test('[A03] logging in with a known device reuses it and ends its session; otherwise a device is added', async (t) => {
  const first = await api.register();
  const again = await api.logIn(first, { id: first.device.id });
  t.is(again.data.device.id, first.device.id);
  t.is(
    (await api.ask('auth.refresh', { body: { refresh_token: first.refresh_token } })).error?.code,
    'unauthenticated',
  );
  const second = await api.logIn(first);
  t.not(second.data.device.id, first.device.id);
  const stranger = await api.register();
  const foreign = await api.logIn(stranger, { id: first.device.id });
  t.not(foreign.data.device.id, first.device.id);
  t.is((await api.ask('auth.refresh', { body: { refresh_token: again.data.refresh_token } })).status, 200);
});

test('[A03] a wrong password, an unknown person and a deleted account get the same answer', async (t) => {
  const gone = await api.register({ username: 'is_gone' });
  await env.db.query('update users set deleted_at = now() where id = $1', [gone.user.id]);
  await api.register({ username: 'is_here' });
  const answers = await Promise.all(
    [
      ['is_here', 'wrong horse'],
      ['is_nobody', password],
      ['is_gone', password],
      ['@', password],
    ].map(([identifier, pw]) => api.ask('auth.login', { body: { identifier, password: pw, device } })),
  );
  for (const { status, error } of answers) {
    t.is(status, 401);
    t.deepEqual(error, { code: 'unauthenticated', message: 'identifier or password is wrong' });
  }
});

test('[A03] an unknown person costs one password comparison, as a wrong password does', async (t) => {
  const other = await env.spawn('api');
  try {
    const one = new Api(other.apiUrl);
    await one.register({ username: 'is_compared' });
    const compared = async (): Promise<number> => {
      const text = await (await fetch(`${other.opsUrl}/metrics`)).text();
      return Number(/^sealwire_password_seconds_count (\d+)$/m.exec(text)![1]);
    };
    for (const identifier of ['is_compared', 'is_nobody', '!']) {
      const before = await compared();
      await one.ask('auth.login', { body: { identifier, password: 'wrong horse', device } });
      t.is(await compared(), before + 1, identifier);
    }
  } finally {
    await other.stop();
  }
});

test('[K02] a device publishes and replaces its identity key, and everybody can read all keys of the person', async (t) => {
  const alice = await api.register();
  const bob = await api.register();
  const nc = await env.nats('ingest');
  const heard = new Promise<string>((resolve) => {
    nc.subscribe(`people.${alice.user.id}`, { callback: (_, message) => resolve(message.subject) });
  });
  await nc.flush();
  for (const identity_key of ['Zmlyc3Q=', 'c2Vjb25k']) {
    const put = await api.ask('keys.publish', {
      token: alice.access_token,
      body: { identity_key, registration_id: 5 },
    });
    t.is(put.data.identity_key, identity_key);
  }
  t.is(await heard, `people.${alice.user.id}`);
  const tablet = await api.logIn(alice);
  const seen = await api.ask('devices.listOfUser', { id: alice.user.id, token: bob.access_token });
  t.deepEqual(
    seen.data.items.map((one) => [one.id, one.identity_key]),
    [
      [alice.device.id, 'c2Vjb25k'],
      [tablet.data.device.id, undefined],
    ],
  );
  const keys = ['id', 'identity_key', 'registration_id', 'user_id'];
  t.deepEqual(Object.keys(seen.data.items[0]!).sort(), keys, 'nothing of a stranger’s device but its keys');
  t.deepEqual(Object.keys(seen.data.items[1]!).sort(), ['id', 'user_id']);
  const own = await api.ask('devices.listOfUser', { id: alice.user.id, token: alice.access_token });
  t.like(own.data.items[1], { name: 'tablet', platform: 'unknown' });
  const page = await api.ask('devices.listOfUser', { id: alice.user.id, token: bob.access_token, query: { limit: 1 } });
  t.is(page.data.items.length, 1);
  const rest = await api.ask('devices.listOfUser', {
    id: alice.user.id,
    token: bob.access_token,
    query: { limit: 1, cursor: page.data.next_cursor! },
  });
  t.is(rest.data.items[0]!.id, tablet.data.device.id);
  t.is(rest.data.next_cursor, null);
  const nobody = await api.ask('devices.listOfUser', { id: alice.device.id, token: bob.access_token });
  t.is(nobody.error?.code, 'not_found');
});
