/** One-time keys, backups and the key log. */
import { createHash } from 'node:crypto';
import test from 'ava';
import type { LoggedIn } from '../../shared/contract/http/auth.ts';
import { uuid7 } from '../../shared/ids.ts';
import { Api, QUICK_HASHING } from '../api/http.ts';
import { type Addresses, type Env, startEnv } from '../env/index.ts';
import { TestSocket } from '../env/people.ts';
import { until } from '../env/until.ts';

let env: Env;
let at: Addresses;
let api: Api;
test.before(async () => {
  env = await startEnv({
    ...QUICK_HASHING,
    PREKEYS_MAX: 300,
    PREKEYS_LOW: 3,
    KEY_CLAIMS_MAX: 1_000,
    KEY_BACKUP_MAX_BYTES: 2_000,
    DATABASE_POOL: 24,
    COMMAND_TIMEOUT_MS: 10_000,
  });
  at = await env.start('ingest', 'fanout', 'history', 'api', 'edge');
  api = new Api(at.apiUrl);
});
test.after.always(() => env?.stop());

const keyed = (identity_key = 'aWRlbnRpdHk='): Promise<LoggedIn> => api.register({ keys: { identity_key } });
const addDeviceOf = async (who: LoggedIn): Promise<LoggedIn> => (await api.logIn(who)).data;
const upload = (who: LoggedIn, body: object) => api.ask('keys.prekeys.add', { token: who.access_token, body });
const some = (count: number, kind?: string, from = 1) =>
  Array.from({ length: count }, (_, i) => ({
    key_id: `${from + i}`,
    public_key: `cHVibGlj${kind ?? ''}${from + i}`,
    ...(kind && { kind }),
  }));
const claim = (by: LoggedIn, of: LoggedIn, body: object = {}) =>
  api.ask('keys.prekeys.claim', { token: by.access_token, id: of.user.id, body });
const count = async (who: LoggedIn) => (await api.ask('keys.prekeys.count', { token: who.access_token })).data;

test('[K03] a hundred and fifty simultaneous claims get different keys, oldest first, then the last resort', async (t) => {
  const [alice, bob] = await Promise.all([keyed(), keyed()]);
  const last_resort = { key_id: 'last', public_key: 'bGFzdA==' };
  const signed = { key_id: 's1', public_key: 'c2lnbmVk', signature: 'c2ln' };
  t.is((await upload(bob, { signed, last_resort, one_time: some(120) })).data.count, 120);
  const first = await claim(alice, bob);
  t.deepEqual(first.data.devices, [
    {
      device_id: bob.device.id,
      identity_key: 'aWRlbnRpdHk=',
      registration_id: bob.device.registration_id!,
      signed_prekey: signed,
      one_time_prekey: { key_id: '1', public_key: 'cHVibGlj1', kind: 'x25519' },
    },
  ]);
  const all = await Promise.all(Array.from({ length: 150 }, () => claim(alice, bob)));
  const given = all.map(({ data }) => data.devices[0]!);
  const ids = given.flatMap(({ one_time_prekey }) => (one_time_prekey ? [Number(one_time_prekey.key_id)] : []));
  t.deepEqual(
    ids.sort((a, b) => a - b),
    Array.from({ length: 119 }, (_, i) => i + 2),
  );
  const rest = given.filter(({ one_time_prekey }) => !one_time_prekey);
  t.is(rest.length, 31);
  for (const { last_resort: last } of rest) t.like(last, last_resort);
  t.like(await count(bob), { count: 0, last_resort: { x25519: 'last' }, signed: 's1' });
});

test('[K03] a repeated upload adds nothing, not even keys claimed meanwhile', async (t) => {
  const [alice, bob] = await Promise.all([keyed(), keyed()]);
  await upload(bob, { one_time: some(5) });
  t.is((await upload(bob, { one_time: some(5) })).data.count, 5);
  t.is((await claim(alice, bob)).data.devices[0]!.one_time_prekey?.key_id, '1');
  t.is((await upload(bob, { one_time: some(5) })).data.count, 4);
  t.is((await claim(alice, bob)).data.devices[0]!.one_time_prekey?.key_id, '2');
  t.is((await upload(bob, { replace: true, one_time: some(1, undefined, 50) })).data.count, 1);
  t.is((await claim(alice, bob)).data.devices[0]!.one_time_prekey?.key_id, '50');
});

test('[K03] curve, post-quantum and MLS keys are kept apart, each with its own last resort', async (t) => {
  const [alice, bob] = await Promise.all([keyed(), keyed()]);
  const kinds = ['ml-kem-1024', 'mls-key-package'];
  await upload(bob, { one_time: [...some(2), ...kinds.flatMap((kind) => some(2, kind))] });
  await upload(bob, { last_resort: { key_id: 'l', public_key: 'bA==', kind: 'mls-key-package', signature: 'cw==' } });
  t.deepEqual((await count(bob)).kinds, { x25519: 2, 'ml-kem-1024': 2, 'mls-key-package': 2 });
  const got = async (kind: string) => (await claim(alice, bob, { kind })).data.devices[0]!;
  t.like((await got('ml-kem-1024')).one_time_prekey, { key_id: '1', public_key: 'cHVibGljml-kem-10241' });
  await got('mls-key-package');
  await got('mls-key-package');
  t.like((await got('mls-key-package')).last_resort, { key_id: 'l', kind: 'mls-key-package', signature: 'cw==' });
  t.deepEqual((await count(bob)).kinds, { x25519: 2, 'ml-kem-1024': 1 });
  const none = await got('unheard-of');
  t.is(none.one_time_prekey ?? none.last_resort, undefined);
});

test('[K03] a claim returns keys of the named devices only, and never of the claiming device', async (t) => {
  const [alice, bob] = await Promise.all([keyed(), keyed()]);
  const tablet = await addDeviceOf(bob);
  t.is((await claim(alice, bob)).data.devices.length, 1, 'without an identity key there is nothing to claim');
  await api.ask('keys.publish', { token: tablet.access_token, body: { identity_key: 'dGFibGV0' } });
  await Promise.all([upload(bob, { one_time: some(3) }), upload(tablet, { one_time: some(3) })]);
  const devices = async (by: LoggedIn, body = {}) =>
    (await claim(by, bob, body)).data.devices.map(({ device_id }) => device_id);
  t.deepEqual(await devices(alice), [bob.device.id, tablet.device.id]);
  t.deepEqual(await devices(alice, { device_ids: [tablet.device.id, alice.device.id] }), [tablet.device.id]);
  t.deepEqual(await devices(bob), [tablet.device.id]);
  t.like([(await count(bob)).count, (await count(tablet)).count], [2, 0]);
});

test('[K03] a device that runs low is told once, also when it was away', async (t) => {
  const [alice, bob] = await Promise.all([keyed(), keyed()]);
  await upload(bob, { one_time: some(5) });
  await claim(alice, bob);
  await Promise.all([claim(alice, bob), claim(alice, bob), claim(alice, bob)]);
  await env.settle();
  const open = () => {
    const raw = new TestSocket(`${at.edgeUrl}/v1/ws`, { authorization: `Bearer ${bob.access_token}` });
    return raw;
  };
  const away = open();
  const low = await away.waitFor('keys.low');
  t.is(low.kind, 'x25519');
  t.true(Number(low.count) <= 3);
  await claim(alice, bob);
  await env.settle();
  t.is(away.framesOf('keys.low').length, 1);
  await upload(bob, { one_time: some(10, undefined, 100) });
  for (let i = 0; i < 8; i++) await claim(alice, bob);
  await away.waitFor('keys.low', 2);
  away.socket.close();
});

test.serial('[K03] a claim is answered while the broker is down, and the warning follows later', async (t) => {
  const [alice, bob] = await Promise.all([keyed(), keyed()]);
  await upload(bob, { one_time: some(4) });
  await env.broker.kill9();
  const { data } = await claim(alice, bob);
  t.is(data.devices[0]!.one_time_prekey?.key_id, '1');
  await env.broker.restart();
  const socket = await TestSocket.open(at, bob);
  // It comes by the notice that waited, or at a claim after it was given up: within PREKEYS_LOW_AGAIN_SEC in any case.
  await until(async () => {
    await claim(alice, bob);
    return socket.framesOf('keys.low').length > 0;
  });
  t.is(socket.framesOf('keys.low')[0]!.kind, 'x25519');
  socket.socket.close();
});

test('[K03] invalid, oversized and unknown uploads and claims are refused', async (t) => {
  const [alice, bob] = await Promise.all([keyed(), keyed()]);
  t.is((await upload(bob, { one_time: some(301) })).error?.code, 'too_large');
  t.is((await count(bob)).count, 0);
  const bad = [
    {},
    { one_time: [{ key_id: '', public_key: 'x' }] },
    { one_time: [{ key_id: 'a b', public_key: 'x' }] },
    { one_time: [{ key_id: '1', public_key: 'ü' }] },
    { one_time: [{ key_id: '1', public_key: 'x', kind: 'UPPER' }] },
    { signed: { key_id: '1', public_key: 'x' } },
    { private_key: 'x' },
  ];
  for (const body of bad) t.is((await upload(bob, body)).error?.code, 'invalid_request', JSON.stringify(body));
  t.is((await claim(alice, { ...bob, user: { ...bob.user, id: uuid7() } })).error?.code, 'not_found');
  t.is((await claim(alice, bob, { device_ids: [] })).error?.code, 'invalid_request');
  t.deepEqual((await claim(alice, bob, { device_ids: [uuid7()] })).data.devices, []);
});

test.serial('[K03] claims are limited per claiming person over all processes', async (t) => {
  const [alice, bob, carol] = await Promise.all([keyed(), keyed(), keyed()]);
  const second = await env.spawn('api', { KEY_CLAIMS_MAX: 4 });
  const third = await env.spawn('api', { KEY_CLAIMS_MAX: 4 });
  const [one, two] = [new Api(second.apiUrl), new Api(third.apiUrl)];
  const ask = (from: Api, by: LoggedIn) =>
    from.ask('keys.prekeys.claim', { token: by.access_token, id: bob.user.id, body: {} });
  const all = await Promise.all(Array.from({ length: 8 }, (_, i) => ask(i % 2 ? one : two, alice)));
  t.is(all.filter(({ status }) => status === 200).length, 4);
  const refused = all.find(({ error }) => error)!.error!;
  t.is(refused.code, 'rate_limited');
  t.true(refused.retry_after_ms! > 3_000_000 && refused.retry_after_ms! <= 3_600_000);
  t.is((await ask(one, carol)).status, 200);
  await env.db.query(`update rate_limits set expire = 0 where key like 'claim:%'`);
  t.is((await ask(two, alice)).status, 200);
});

test('[K04] a sealed backup is stored, read, replaced and deleted, and concurrent writers get a conflict', async (t) => {
  const [alice, bob] = await Promise.all([keyed(), keyed()]);
  const tablet = await addDeviceOf(alice);
  const put = (who: LoggedIn, body: object) => api.ask('keys.backup.put', { token: who.access_token, body });
  const get = (who: LoggedIn) => api.ask('keys.backup.get', { token: who.access_token });
  t.is((await get(alice)).error?.code, 'not_found');
  t.is((await put(alice, { data: 'x', if_version: 3 })).error?.code, 'conflict');
  t.is((await put(alice, { data: 'sealed "\\ 🦭', if_version: 0 })).data.version, 1);
  t.is((await put(tablet, { data: 'y', if_version: 0 })).error?.code, 'conflict');
  t.like((await get(tablet)).data, { data: 'sealed "\\ 🦭', version: 1 });
  t.is((await get(bob)).error?.code, 'not_found');
  const both = await Promise.all([alice, tablet].map((who) => put(who, { data: who.device.id, if_version: 1 })));
  t.deepEqual(both.map(({ status }) => status).sort(), [200, 409]);
  t.is((await put(alice, { data: 'z' })).data.version, 3);
  t.is((await put(alice, { data: 'é'.repeat(1_001) })).error?.code, 'too_large');
  t.is((await put(alice, { data: '' })).error?.code, 'invalid_request');
  t.is((await api.ask('keys.backup.delete', { token: alice.access_token })).data.version, 4);
  t.is((await get(alice)).error?.code, 'not_found');
  t.is((await api.ask('keys.backup.delete', { token: alice.access_token })).error?.code, 'not_found');
  t.is((await put(alice, { data: 'again', if_version: 0 })).data.version, 5);
});

test('[K08] every change of devices and keys is a link of the chain, also when changes are simultaneous', async (t) => {
  const [alice, bob] = await Promise.all([keyed('b25l'), keyed()]);
  const tablets = await Promise.all(Array.from({ length: 5 }, () => addDeviceOf(alice)));
  const publish = (who: LoggedIn, identity_key: string) =>
    api.ask('keys.publish', { token: who.access_token, body: { identity_key } });
  await Promise.all(tablets.flatMap((one, i) => [publish(one, `a${i}`), publish(one, `b${i}`)]));
  await api.ask('devices.delete', { token: alice.access_token, id: tablets[0]!.device.id });
  await publish(alice, 'b25l');
  const log = async (query: Record<string, string | number> = {}) =>
    (await api.ask('keys.log.list', { token: bob.access_token, id: alice.user.id, query })).data;
  const { items } = await log();
  const links = items.map(({ entry }) => JSON.parse(entry) as Record<string, unknown>);
  t.is(items.length, 1 + 5 + 10 + 1, 'publishing the same key again is no change');
  let hash = '0'.repeat(64);
  for (const [i, link] of items.entries()) {
    hash = createHash('sha256').update(`${hash}\n${link.entry}`).digest('hex');
    t.is(link.hash, hash);
    t.is(link.n, i + 1);
    t.like(links[i], { n: i + 1, user_id: alice.user.id });
  }
  t.like(links[0], { action: 'added', device_id: alice.device.id, identity_key: 'b25l' });
  t.like(links.at(-1), { action: 'removed', device_id: tablets[0]!.device.id, identity_key: null });
  const page = await log({ limit: 10 });
  const rest = await log({ limit: 10, cursor: page.next_cursor! });
  t.deepEqual([...page.items, ...rest.items], items);
  t.deepEqual((await log({ after: 16 })).items, items.slice(16));
});
