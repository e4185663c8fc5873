/** Limits and lock-outs: exact under concurrency, the same for accounts that are not there, shared and lasting. */
import { randomBytes } from 'node:crypto';
import test from 'ava';
import { addressKey, openAttemptLimits } from '../../shared/auth/attempt-limits.ts';
import type { ApiError } from '../../shared/contract/errors.ts';
import { uuid7 } from '../../shared/ids.ts';
import { type Addresses, type Env, startEnv } from '../env/index.ts';
import { PASSWORD, registerPerson, TestSocket } from '../env/people.ts';
import { until } from '../env/until.ts';
import { Api, QUICK_HASHING } from './http.ts';

let env: Env;
let api: Api;
let at: Addresses;
test.before(async () => {
  env = await startEnv({
    ...QUICK_HASHING,
    HTTP_TRUST_PROXY: true,
    AUTH_LOCK_SEC: 600,
    LOOKUP_MAX_REQUESTS: 5,
    GROUP_MAX_MEMBERS: 5,
  });
  at = await env.start('ingest', 'fanout', 'history', 'api', 'edge');
  api = new Api(at.apiUrl);
});
test.after.always(() => env.stop());

const password = PASSWORD;
const login = (identifier: string, pw: string, ip = '192.0.2.1', on = api) =>
  on.ask('auth.login', {
    body: { identifier, password: pw, device: { name: 'phone' } },
    headers: { 'x-forwarded-for': `203.0.113.9, ${ip}` },
  });
const times = <T>(n: number, what: (i: number) => Promise<T>): Promise<T[]> =>
  Promise.all(Array.from({ length: n }, (_, i) => what(i)));
const codes = (all: { error: { code: string } | undefined }[]): Record<string, number> => {
  const out: Record<string, number> = {};
  for (const { error } of all) out[error?.code ?? 'good'] = (out[error?.code ?? 'good'] ?? 0) + 1;
  return out;
};

test('[A10] of a hundred simultaneous wrong passwords ten are checked, then even the right one is refused with a wait', async (t) => {
  const { user } = await api.register();
  const all = await times(100, () => login(user.number, 'wrong horse'));
  t.deepEqual(codes(all), { unauthenticated: 10, rate_limited: 90 });
  const locked = await login(user.number, password);
  t.is(locked.error?.code, 'rate_limited');
  const wait = locked.error!.retry_after_ms!;
  t.true(wait > 590_000 && wait <= 600_000, String(wait));
  t.is(Number(locked.headers.get('retry-after')), Math.ceil(wait / 1000));
  t.is((await login(user.number, password, '192.0.2.2')).status, 200, 'its owner at another address is not locked out');
});

test('[A10] an account that does not exist is locked like an existing one', async (t) => {
  const all = await times(30, () => login('never_registered', 'wrong horse', '192.0.2.3'));
  t.deepEqual(codes(all), { unauthenticated: 10, rate_limited: 20 });
  const nonsense = await times(30, () => login('@@ @@', 'wrong horse', '192.0.2.3'));
  t.deepEqual(codes(nonsense), { unauthenticated: 10, rate_limited: 20 });
});

test('[A10] a lock applies in every API process and after a restart', async (t) => {
  const { user } = await api.register();
  const other = await env.spawn('api');
  const elsewhere = new Api(other.apiUrl);
  const all = [
    ...(await times(6, () => login(user.number, 'wrong horse', '192.0.2.4'))),
    ...(await times(6, () => login(user.number, 'wrong horse', '192.0.2.4', elsewhere))),
  ];
  t.deepEqual(codes(all), { unauthenticated: 10, rate_limited: 2 });
  await other.kill9();
  await other.restart();
  t.is((await login(user.number, password, '192.0.2.4', elsewhere)).error?.code, 'rate_limited');
  await other.stop();
});

test('[A10] many addresses together get no more tries at one account', async (t) => {
  const { user } = await api.register();
  const all = await times(150, (i) => login(user.number, 'wrong horse', `198.51.100.${i}`));
  t.deepEqual(codes(all), { unauthenticated: 100, rate_limited: 50 });
});

test('[A10] wrong passwords from everywhere do not lock a person out at a known address or device', async (t) => {
  const { user } = await api.register();
  const [home, cafe] = ['192.0.2.50', '192.0.2.51'];
  const { data } = await login(user.number, password, home);
  await times(101, (i) => login(user.number, 'wrong horse', `198.51.100.${i}`));
  t.is((await login(user.number, password, cafe)).error?.code, 'rate_limited', 'an address that is not known');
  t.is((await login(user.number, password, home)).status, 200, 'the address of before');
  const onDevice = (pw: string, ip: string, identifier = user.number) =>
    api.ask('auth.login', {
      body: { identifier, password: pw, device: { id: data.device.id } },
      headers: { 'x-forwarded-for': ip },
    });
  t.is((await onDevice(password, cafe)).status, 200, 'the device of before, elsewhere');
  t.is((await login(user.number, password, cafe)).status, 200, 'and so that address is known, too');
  const stranger = await onDevice(password, '192.0.2.53', 'never_registered_either');
  t.is(stranger.error?.code, 'unauthenticated', 'with another identifier the device is worth nothing');

  const all = await times(30, (i) => onDevice('wrong horse', `203.0.113.${i}`));
  t.deepEqual(codes(all), { unauthenticated: 10, rate_limited: 20 }, 'a device has one budget for all addresses');
  t.is((await login(user.number, password, home)).status, 200);
  t.deepEqual(codes(await times(12, () => login(user.number, 'wrong', home))), {
    unauthenticated: 10,
    rate_limited: 2,
  });
});

test('[A10] a known address expires after AUTH_KNOWN_DAYS and is stored as a hash', async (t) => {
  const limits = openAttemptLimits(env.db, { ...env.config, AUTH_LOCK_MAX_FAILURES_IN_ALL: 1, AUTH_KNOWN_DAYS: 2 });
  const who = randomBytes(36);
  const { user, device } = await api.register();
  await limits.rememberLogin([who], '192.0.2.60', device.id);
  const made = await env.db.query<{ key: string; days: number }>(
    `select key, (expire / 1000 - extract(epoch from now())) / 86400 as days from rate_limits
     where key like 'known:%' and expire / 1000 - extract(epoch from now()) < 3 * 86400`,
  );
  t.is(made.length, 2);
  for (const { key, days } of made) {
    t.true(days > 1.9 && days <= 2);
    t.false([user.id, device.id, '192.0.2.60'].some((text) => key.includes(text)));
  }
  for (let i = 0; i < 3; i++) await limits.attempt(who, '192.0.2.60');
  await env.db.query('update rate_limits set expire = 0 where key = any($1)', [made.map(({ key }) => key)]);
  await limits.attempt(who, '192.0.2.60');
  await t.throwsAsync(limits.attempt(who, '192.0.2.60'), { message: /too many failed attempts/ });
});

test('[A10] a successful log-in resets the count of failures', async (t) => {
  const { user } = await api.register();
  for (let round = 0; round < 3; round++) {
    t.deepEqual(codes(await times(9, () => login(user.number, 'wrong', '192.0.2.6'))), { unauthenticated: 9 });
    t.is((await login(user.number, password, '192.0.2.6')).status, 200);
  }
});

test('[A10] addresses in one IPv6 network count as one, and a client cannot choose its address', async (t) => {
  const { user } = await api.register();
  await times(10, (i) => login(user.number, 'wrong', `2001:db8:1:2::${i}`));
  t.is((await login(user.number, password, '2001:db8:1:2:ffff::1')).error?.code, 'rate_limited');
  t.is((await login(user.number, password, '2001:db8:1:3::1')).status, 200);
  const mine = await api.ask('auth.login', {
    body: { identifier: user.number, password, device: { name: 'phone' } },
    headers: { 'x-forwarded-for': '8.8.8.8, 2001:db8:1:2::77' },
  });
  t.is(mine.error?.code, 'rate_limited');
  t.is(addressKey('::ffff:192.0.2.1'), '192.0.2.1');
  t.is(addressKey('2001:DB8::1'), '2001:db8:0:0');
  t.is(addressKey('::1'), '0:0:0:0');
});

test('[A10] the limit of calls per address is exact over several processes', async (t) => {
  const config = { ...env.config, AUTH_RATE_LIMIT_MAX_REQUESTS: 40 };
  const [one, two] = [openAttemptLimits(env.db, config), openAttemptLimits(env.db, config)];
  const outcomes = await times(100, (i) =>
    (i % 2 ? one : two).takeCall('192.0.2.44').then(
      () => 'good',
      ({ code }: ApiError) => code,
    ),
  );
  t.is(outcomes.filter((one) => one === 'good').length, 40);
});

test('[A10] an exceeded limit ends with its window', async (t) => {
  const limits = openAttemptLimits(env.db, { ...env.config, CODE_MAX_SENT: 1, CODE_WINDOW_SEC: 3 });
  const who = randomBytes(36);
  const send = (): Promise<ApiError | undefined> =>
    limits.takeCodeSend(who, '192.0.2.5').then(
      () => undefined,
      (error: ApiError) => error,
    );
  const begun = Date.now();
  const [refused, ...others] = (await Promise.all([send(), send()])).filter((error) => error !== undefined);
  t.is(refused?.code, 'rate_limited');
  t.deepEqual(others, [], 'one of the two is good');
  t.true(refused!.retry_after_ms! > 0 && refused!.retry_after_ms! <= 3_000);
  await until(async () => (await send()) === undefined);
  t.true(Date.now() >= begun + 2_990);
});

test('[A10] looking people up by number, phone or email is limited over HTTP and the socket together', async (t) => {
  const me = await api.register();
  const ask = (body: object) => api.ask('conversations.createDirect', { token: me.access_token, body });
  const guesses = await times(10, (i) => ask({ number: String(20_000_000 + i) }));
  t.deepEqual(codes(guesses), { not_found: 5, rate_limited: 5 });
  t.is((await ask({ phone: '+15550100999' })).error?.code, 'rate_limited');
  const friend = await api.register();
  t.is((await ask({ user_id: friend.user.id })).status, 201, 'who knows the id asks nobody');

  const socket = await TestSocket.open(at, await registerPerson(at));
  for (let i = 0; i < 8; i++)
    socket.send({
      type: 'message.send',
      id: String(i),
      to: { number: String(30_000_000 + i) },
      client_message_id: String(i),
      payload: 'x',
    });
  await socket.waitFor('error', 8);
  const told = socket.framesOf('error').map(({ code }) => code);
  t.is(told.filter((code) => code === 'not_found').length, 5);
  t.is(told.filter((code) => code === 'rate_limited').length, 3);
  socket.socket.terminate();
});

test('[C02] a group with unknown or too many members is refused', async (t) => {
  const alice = await api.register();
  const create = (member_ids: string[]) =>
    api.ask('conversations.create', { token: alice.access_token, body: { type: 'group', member_ids } });
  t.is((await create([uuid7()])).error?.code, 'not_found');
  t.is((await create(Array.from({ length: 5 }, () => uuid7()))).error?.code, 'invalid_request');
  t.is((await create(['abc'])).error?.code, 'invalid_request');
});
