/** What each kind of push service is sent, and what becomes of what it answers. */
import test from 'ava';
import { openWebPush } from '../../services/push/webpush.ts';
import { uuid7 } from '../../shared/ids.ts';
import type { TestDevice } from '../env/people.ts';
import { until } from '../env/until.ts';
import { PushSystem } from './system.ts';

let world: PushSystem;
test.before(async () => {
  world = await PushSystem.start();
});
test.after.always(() => world?.stop());

test('[N03] UnifiedPush gets an encrypted wake-up where the distributor gave keys, else a plain one', async (t) => {
  const alice = await (await world.createDevice()).connect();
  for (const encrypted of [true, false]) {
    const bob = await world.createDevice();
    const { browser, endpoint, keys } = world.web.subscribe();
    await world.putPush(bob, { provider: 'unifiedpush', endpoint, ...(encrypted && { keys }) });
    await alice.send(bob, 'x');
    await until(() => browser.received.length === 1);
    t.deepEqual(browser.received, ['{"type":"wake"}']);
  }
  t.deepEqual(world.web.errors, []);
  await alice.device.close();
});

test('[N03] FCM gets one token for all wake-ups, and unregistered tokens are removed', async (t) => {
  const alice = await (await world.createDevice()).connect();
  const [one, two, dead] = [await world.createDevice(), await world.createDevice(), await world.createDevice()];
  const tokenOf = ({ device }: TestDevice) => `fcm:${device.id}`;
  world.fcm.answers.set(tokenOf(dead), {
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
  for (const bob of bobs) await world.putPush(bob, { provider: 'fcm', token: tokenOf(bob) });
  for (const bob of bobs) await alice.send(bob, 'secret');
  await until(() => bobs.every((bob) => world.fcm.messages.some(({ token }) => token === tokenOf(bob))));
  await until(
    async () =>
      (await world.env.db.query('select 1 from devices where id = $1 and push is null', [dead.device.id])).length === 1,
  );
  t.deepEqual(world.fcm.errors, []);
  t.like(
    world.fcm.messages.find(({ token }) => token === tokenOf(one)),
    { message: { data: { type: 'wake' }, android: { collapse_key: 'wake' } } },
  );
  t.true(world.fcm.tokenCount <= 2);
  await alice.device.close();
});

test('[N03] APNs gets one HTTP/2 connection that is reopened after a break, and unregistered devices are removed', async (t) => {
  const alice = await (await world.createDevice()).connect();
  const [one, two, dead] = [await world.createDevice(), await world.createDevice(), await world.createDevice()];
  const tokenOf = ({ device }: TestDevice) => device.id.replaceAll('-', '');
  world.apns.answers.set(tokenOf(dead), { status: 410, body: { reason: 'Unregistered', timestamp: 1 } });
  for (const bob of [one, two, dead]) await world.putPush(bob, { provider: 'apns', token: tokenOf(bob) });
  const got = (bob: TestDevice) => world.apns.messages.find(({ token }) => token === tokenOf(bob));
  await alice.send(one, 'secret');
  await until(() => got(one) !== undefined);
  world.apns.closeConnections();
  await alice.send(two, 'secret');
  await alice.send(dead, 'secret');
  await until(() => got(two) !== undefined && got(dead) !== undefined);
  await until(
    async () =>
      (await world.env.db.query('select 1 from devices where id = $1 and push is null', [dead.device.id])).length === 1,
  );
  t.deepEqual(world.apns.errors, []);
  t.is(world.apns.connectionCount, 2);
  const { headers, payload } = got(one)!;
  t.like(headers, { 'apns-topic': 'org.example.app', 'apns-collapse-id': 'wake' });
  t.notRegex(JSON.stringify(payload), /secret/);
  await alice.device.close();
});

test('[N03] an endpoint on a private address is never dialled, even where webhooks may go', async (t) => {
  const config = { ...world.env.config, PUSH_ALLOW_CIDRS: [], WEBHOOK_ALLOW_CIDRS: ['127.0.0.0/8', '::1/128'] };
  const senders = await openWebPush(config, world.env.db);
  const { browser, endpoint, keys } = world.web.subscribe();
  const port = new URL(endpoint).port;
  for (const host of ['127.0.0.1', 'localhost', '[::1]', '[::ffff:127.0.0.1]', '2130706433']) {
    const to = `http://${host}:${port}/${uuid7()}`;
    t.deepEqual(
      await senders.send({ provider: 'webpush', endpoint: to, keys }),
      { is: 'dead', reason: 'address_refused' },
      host,
    );
  }
  t.deepEqual(browser.received, []);
  await senders.close();
});
