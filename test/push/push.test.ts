/** Wake-ups: where devices want them, when they go out, and that they go out once. */
import test from 'ava';
import fc from 'fast-check';
import { next } from '../../services/push/handle.ts';
import { openWebPush } from '../../services/push/webpush.ts';
import { vapidKeys } from '../../shared/auth/vapid.ts';
import type { PushTarget } from '../../shared/contract/push.ts';
import { uuid7 } from '../../shared/ids.ts';
import { Api, QUICK } from '../api/http.ts';
import { account, another, Phone, Raw, until } from '../edge/devices.ts';
import { type Addresses, type Env, type Spawned, startEnv } from '../env/index.ts';
import { Apns, Fcm } from './stores.ts';
import { WebPushService } from './web.ts';

let env: Env;
let at: Addresses;
let api: Api;
let worker: Spawned;
const web = new WebPushService();
const fcm = new Fcm();
const apns = new Apns();

test.before(async () => {
  await Promise.all([web.open(), fcm.open(), apns.open()]);
  env = await startEnv({
    ...QUICK,
    ...{ AWAY_GRACE_MS: 100, PUSH_DELAY_MS: 300, PRESENCE_LEASE_MS: 15_000, PUSH_ALLOW_CIDRS: ['127.0.0.0/8'] },
    ...{ FCM_URL: fcm.url, FCM_SERVICE_ACCOUNT_JSON: fcm.account },
    ...{
      APNS_URL: apns.url,
      APNS_KEY: apns.key,
      APNS_KEY_ID: 'KEY1234567',
      APNS_TEAM_ID: 'TEAM123456',
      APNS_TOPIC: 'org.example.app',
    },
  });
  at = await env.start('history', 'fanout', 'ingest', 'api', 'edge');
  worker = await env.spawn('push');
  api = new Api(at.apiUrl);
  web.publicKey = (await vapidKeys(env.db, env.config)).public_key;
});
test.after.always(async () => {
  await env?.stop();
  await Promise.all([web.close(), fcm.close(), apns.close()]);
});

const phone = async (): Promise<Phone> => new Phone(await account(at), at.edgeUrl);
async function putPush({ device }: Phone, body: Record<string, unknown>) {
  return await api.ask('putPush', { id: device.id, token: device.session.access_token, body });
}
/** A phone that a browser wakes. */
async function subscribed(): Promise<{
  bob: Phone;
  got: string[];
  browser: ReturnType<WebPushService['subscribe']>['browser'];
}> {
  const bob = await phone();
  const { browser, endpoint, keys } = web.subscribe();
  await putPush(bob, { provider: 'webpush', endpoint, keys });
  return { bob, got: browser.got, browser };
}
/** Everything that is due for the device was looked at, and nothing is under way: what came for another one later is out. */
async function quiet({ device }: Phone): Promise<void> {
  await env.settle();
  const { bob, got } = await subscribed();
  const alice = await (await phone()).up();
  await alice.send(bob, 'later than anything before');
  await until(() => got.length === 1);
  await alice.device.close();
  await until(async () => {
    const rows = await env.db.query(
      "select 1 from push_states where device_id = $1 and next_at < now() + interval '2 minutes'",
      [device.id],
    );
    return rows.length === 0;
  });
}
/** Postgres knows that it has left. */
const left = ({ device }: Phone): Promise<void> =>
  until(
    async () =>
      (await env.db.query('select 1 from device_presence where device_id = $1 and edge_id is null', [device.id]))
        .length === 1,
  );

test('[N01] a device says where it is woken; only its person may, and nonsense is refused by field', async (t) => {
  const [alice, bob] = [await phone(), await phone()];
  const { endpoint, keys } = web.subscribe();
  const targets: PushTarget[] = [
    { provider: 'webpush', endpoint, keys },
    { provider: 'unifiedpush', endpoint },
    { provider: 'unifiedpush', endpoint, keys },
    { provider: 'fcm', token: 'fcm:token' },
    { provider: 'apns', token: '00aa11bb', topic: 'org.example.other' },
  ];
  for (const target of targets) {
    const { data } = await putPush(bob, target);
    t.deepEqual(data, { device_id: bob.device.id, provider: target.provider, muted_until: null });
    const [row] = await env.db.query('select push from devices where id = $1', [bob.device.id]);
    t.deepEqual(row!.push, target);
  }
  t.is((await putPush(bob, { provider: 'none' })).data.provider, 'none');
  t.deepEqual(await env.db.query('select push from devices where id = $1', [bob.device.id]), [{ push: null }]);
  const wrong: Record<string, unknown>[] = [
    {},
    { provider: 'pigeon' },
    { provider: 'none', token: 'x' },
    { provider: 'webpush', endpoint },
    { provider: 'webpush', endpoint: 'ftp://example.org', keys },
    { provider: 'webpush', endpoint: 'https://a:b@example.org', keys },
    { provider: 'webpush', endpoint, keys: { p256dh: 'short', auth: keys.auth } },
    { provider: 'fcm' },
    { provider: 'fcm', token: 'x', endpoint },
    { provider: 'apns', token: 'not hex' },
    { provider: 'fcm', token: 'x'.repeat(5_000) },
    { provider: 'fcm', token: 'x', muted_until: 'tomorrow' },
    { provider: 'fcm', token: 'x', muted_until: '2026-99-99T99:99:99Z' },
  ];
  for (const body of wrong) t.is((await putPush(bob, body)).error?.code, 'invalid_request', JSON.stringify(body));
  const others = { id: bob.device.id, token: alice.device.session.access_token };
  t.is((await api.ask('putPush', { ...others, body: { provider: 'none' } })).error?.code, 'not_found');
  t.is((await api.ask('getPush', others)).error?.code, 'not_found');
  t.is((await api.ask('pushKey', { token: others.token })).data.public_key, web.publicKey);
  const until = new Date(Date.now() + 60_000).toISOString();
  t.is((await putPush(bob, { provider: 'fcm', token: 'x', muted_until: until })).data.muted_until, until);
});

test('[N02] [N03] an away device is woken once for all that comes, with nothing but a wake-up that it can open', async (t) => {
  const { bob, got } = await subscribed();
  const alice = await (await phone()).up();
  for (let i = 0; i < 5; i++) await alice.send(bob, `secret ${i}`);
  await until(() => got.length > 0);
  await quiet(bob);
  await alice.send(bob, 'more');
  await quiet(bob);
  t.deepEqual(got, ['{"type":"wake"}']);
  t.deepEqual(web.wrong, []);
  await alice.device.close();
});

test('[N02] none for who is online; again when a socket closes with a backlog', async (t) => {
  const { bob, got } = await subscribed();
  const alice = await (await phone()).up();
  await bob.up();
  await alice.send(bob, 'one');
  await until(() => bob.payloads.length === 1);
  await quiet(bob);
  t.deepEqual(got, []);
  await bob.device.close();
  await left(bob);
  await quiet(bob);
  t.deepEqual(got, [], 'nothing waits for it');
  await alice.send(bob, 'two');
  await until(() => got.length === 1);

  const raw = await Raw.open(at, bob.device.session);
  await raw.until('message.created');
  raw.socket.close();
  await until(() => got.length === 2);
  t.is(raw.of('message.created').length, 1);

  await bob.up();
  await until(() => bob.payloads.length === 2);
  await bob.device.close();
  await left(bob);
  await quiet(bob);
  t.is(got.length, 2, 'all was acknowledged');
  await alice.device.close();
});

test('[N02] not for what oneself or a receipt says, nor while muted; the mute over, for what waits', async (t) => {
  const { bob, got } = await subscribed();
  const alice = await (await phone()).up();
  const tablet = await new Phone(await another(bob.device.session), at.edgeUrl).up();
  const { conversation_id, seq } = await tablet.send(alice, 'from my other device');
  await until(() => alice.payloads.length === 1);
  await alice.device.read(conversation_id, seq);
  await quiet(bob);
  t.deepEqual(got, []);
  const target = await env.db.query<{ push: PushTarget }>('select push from devices where id = $1', [bob.device.id]);
  const muted_until = new Date(Date.now() + 3_600_000).toISOString();
  await putPush(bob, { ...target[0]!.push, muted_until });
  await quiet(bob);
  await alice.send(bob, 'hush');
  await until(
    async () =>
      (await env.db.query('select 1 from push_states where device_id = $1 and next_at = muted_until', [bob.device.id]))
        .length === 1,
  );
  t.deepEqual(got, []);
  await putPush(bob, target[0]!.push);
  await until(() => got.length === 1);
  await Promise.all([alice, tablet].map(({ device }) => device.close()));
});

test('[N02] a dead target is removed, one that fails is tried again later', async (t) => {
  const alice = await (await phone()).up();
  const gone = await subscribed();
  const busy = await subscribed();
  gone.browser.status = 410;
  busy.browser.status = 429;
  busy.browser.headers = { 'retry-after': '120' };
  await alice.send(gone.bob, 'x');
  await alice.send(busy.bob, 'x');
  await until(
    async () =>
      (await env.db.query('select 1 from devices where id = $1 and push is null', [gone.bob.device.id])).length === 1,
  );
  const later = () =>
    env.db.query<{ tries: number }>(
      "select tries from push_states where device_id = $1 and tries > 0 and next_at > now() + interval '80 seconds'",
      [busy.bob.device.id],
    );
  await until(async () => (await later()).length === 1);
  t.is(busy.got.length, 1);
  busy.browser.status = 201;
  await env.db.query('update push_states set next_at = now() where device_id = $1', [busy.bob.device.id]);
  await until(() => busy.got.length === 2);
  await alice.device.close();
});

test('[N02] a device that was woken and did not come is woken again, more and more rarely', async (t) => {
  const rules = { PUSH_REPEAT_SEC: 900, PUSH_MAX_WAKES: 3, PUSH_MAX_TRIES: 8 };
  const pauses: (number | undefined)[] = [];
  for (let wakes = 0; wakes < 3; wakes++) pauses.push(next({ wakes, tries: 0 }, { is: 'ok' }, rules).in_ms);
  t.deepEqual(pauses, [900_000, 3_600_000, undefined]);
  fc.assert(
    fc.property(
      fc.nat(20),
      fc.nat(10_000_000),
      fc.double({ min: 0, max: 1, noNaN: true }),
      (tries, retry_after_ms, random) => {
        const { in_ms, wakes } = next(
          { wakes: 0, tries },
          { is: 'failed', reason: 'x', retry_after_ms },
          rules,
          random,
        );
        return in_ms === undefined ? tries >= 7 && wakes === 1 : in_ms >= 12_000 && in_ms <= 4_320_000;
      },
    ),
  );
  const { bob, got } = await subscribed();
  const alice = await (await phone()).up();
  await alice.send(bob, 'x');
  await until(() => got.length === 1);
  await quiet(bob);
  await env.db.query('update push_states set next_at = now() where device_id = $1', [bob.device.id]);
  await until(() => got.length === 2);
  await alice.device.close();
});

test.serial('[N02] what came while the worker was dead is told when it is back, once', async (t) => {
  const { bob, got } = await subscribed();
  const alice = await (await phone()).up();
  await quiet(bob);
  await worker.kill9();
  await alice.send(bob, 'x');
  await env.settle();
  await worker.restart();
  await until(async () => {
    const told = await env.db.query('select 1 from push_states where device_id = $1 and wakes = 1', [bob.device.id]);
    return told.length === 1;
  });
  await worker.kill9();
  await worker.restart();
  await quiet(bob);
  t.is(got.length, 1);
  await alice.device.close();
});

test.serial('[N02] devices of an edge that was killed are away', async (t) => {
  const edge = await env.spawn('edge');
  const { bob, got } = await subscribed();
  const there = new Phone(bob.device.session, edge.edgeUrl);
  await there.up();
  await until(
    async () =>
      (
        await env.db.query('select 1 from device_presence where device_id = $1 and edge_id is not null', [
          bob.device.id,
        ])
      ).length === 1,
  );
  const alice = await (await phone()).up();
  await edge.kill9();
  // As if it had been killed a while ago.
  await env.db.query(
    `update edge_leases set seen_at = seen_at - interval '12 seconds'
     where edge_id = (select edge_id from device_presence where device_id = $1)`,
    [bob.device.id],
  );
  await alice.send(bob, 'x');
  await until(() => got.length === 1);
  await there.device.close();
  await alice.device.close();
  t.pass();
});

test('[N03] UnifiedPush: encrypted where the distributor gave keys, else plain', async (t) => {
  const alice = await (await phone()).up();
  for (const encrypted of [true, false]) {
    const bob = await phone();
    const { browser, endpoint, keys } = web.subscribe();
    await putPush(bob, { provider: 'unifiedpush', endpoint, ...(encrypted && { keys }) });
    await alice.send(bob, 'x');
    await until(() => browser.got.length === 1);
    t.deepEqual(browser.got, ['{"type":"wake"}']);
  }
  t.deepEqual(web.wrong, []);
  await alice.device.close();
});

test('[N03] FCM: a signed assertion buys one token for all; unregistered tokens are removed', async (t) => {
  const alice = await (await phone()).up();
  const [one, two, dead] = [await phone(), await phone(), await phone()];
  const tokenOf = ({ device }: Phone) => `fcm:${device.id}`;
  fcm.answers.set(tokenOf(dead), {
    status: 404,
    body: {
      error: {
        code: 404,
        status: 'NOT_FOUND',
        details: [{ '@type': 'type.googleapis.com/google.firebase.fcm.v1.FcmError', errorCode: 'UNREGISTERED' }],
      },
    },
  });
  const bobs = [one, two, dead];
  for (const bob of bobs) await putPush(bob, { provider: 'fcm', token: tokenOf(bob) });
  for (const bob of bobs) await alice.send(bob, 'secret');
  await until(() => bobs.every((bob) => fcm.got.some(({ token }) => token === tokenOf(bob))));
  await until(
    async () =>
      (await env.db.query('select 1 from devices where id = $1 and push is null', [dead.device.id])).length === 1,
  );
  t.deepEqual(fcm.wrong, []);
  t.like(
    fcm.got.find(({ token }) => token === tokenOf(one)),
    { message: { data: { type: 'wake' }, android: { collapse_key: 'wake' } } },
  );
  t.true(fcm.tokens <= 2);
  await alice.device.close();
});

test('[N03] APNs: one HTTP/2 connection, made again when it breaks; unregistered devices are removed', async (t) => {
  const alice = await (await phone()).up();
  const [one, two, dead] = [await phone(), await phone(), await phone()];
  const tokenOf = ({ device }: Phone) => device.id.replaceAll('-', '');
  apns.answers.set(tokenOf(dead), { status: 410, body: { reason: 'Unregistered', timestamp: 1 } });
  for (const bob of [one, two, dead]) await putPush(bob, { provider: 'apns', token: tokenOf(bob) });
  const got = (bob: Phone) => apns.got.find(({ token }) => token === tokenOf(bob));
  await alice.send(one, 'secret');
  await until(() => got(one) !== undefined);
  apns.drop();
  await alice.send(two, 'secret');
  await alice.send(dead, 'secret');
  await until(() => got(two) !== undefined && got(dead) !== undefined);
  await until(
    async () =>
      (await env.db.query('select 1 from devices where id = $1 and push is null', [dead.device.id])).length === 1,
  );
  t.deepEqual(apns.wrong, []);
  t.is(apns.connections, 2);
  const { headers, payload } = got(one)!;
  t.like(headers, { 'apns-topic': 'org.example.app', 'apns-collapse-id': 'wake' });
  t.notRegex(JSON.stringify(payload), /secret/);
  await alice.device.close();
});

test('[N03] an endpoint on a private address is never dialled, also where webhooks may go', async (t) => {
  const config = { ...env.config, PUSH_ALLOW_CIDRS: [], WEBHOOK_ALLOW_CIDRS: ['127.0.0.0/8', '::1/128'] };
  const senders = await openWebPush(config, env.db);
  const { browser, endpoint, keys } = web.subscribe();
  const port = new URL(endpoint).port;
  for (const host of ['127.0.0.1', 'localhost', '[::1]', '[::ffff:127.0.0.1]', '2130706433']) {
    const to = `http://${host}:${port}/${uuid7()}`;
    t.deepEqual(
      await senders.send({ provider: 'webpush', endpoint: to, keys }),
      { is: 'dead', reason: 'address_refused' },
      host,
    );
  }
  t.deepEqual(browser.got, []);
  await senders.close();
});
