/** Wake-ups: where devices want them, when they go out, and that they go out once. */
import test from 'ava';
import fc from 'fast-check';
import { scheduleAfter } from '../../services/push/handle.ts';
import type { PushTarget } from '../../shared/contract/http/push.ts';
import { addDevice, TestDevice, TestSocket } from '../env/people.ts';
import { until } from '../env/until.ts';
import { PushSystem } from './system.ts';

let world: PushSystem;
test.before(async () => {
  world = await PushSystem.start();
});
test.after.always(() => world?.stop());

test('[N01] a device sets its push target, only its person may, and invalid targets are refused', async (t) => {
  const [alice, bob] = [await world.createDevice(), await world.createDevice()];
  const { endpoint, keys } = world.web.subscribe();
  const targets: PushTarget[] = [
    { provider: 'webpush', endpoint, keys },
    { provider: 'unifiedpush', endpoint },
    { provider: 'unifiedpush', endpoint, keys },
    { provider: 'fcm', token: 'fcm:token' },
    { provider: 'apns', token: '00aa11bb', topic: 'org.example.other' },
  ];
  for (const target of targets) {
    const { data } = await world.putPush(bob, target);
    t.deepEqual(data, { device_id: bob.device.id, provider: target.provider, muted_until: null });
    const [row] = await world.env.db.query('select push from devices where id = $1', [bob.device.id]);
    t.deepEqual(row!.push, target);
  }
  t.is((await world.putPush(bob, { provider: 'none' })).data.provider, 'none');
  t.deepEqual(await world.env.db.query('select push from devices where id = $1', [bob.device.id]), [{ push: null }]);
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
  for (const body of wrong) t.is((await world.putPush(bob, body)).error?.code, 'invalid_request', JSON.stringify(body));
  const others = { id: bob.device.id, token: alice.device.session.access_token };
  t.is((await world.api.ask('push.targets.put', { ...others, body: { provider: 'none' } })).error?.code, 'not_found');
  t.is((await world.api.ask('push.targets.get', others)).error?.code, 'not_found');
  t.is((await world.api.ask('push.key.get', { token: others.token })).data.public_key, world.web.publicKey);
  const until = new Date(Date.now() + 60_000).toISOString();
  t.is((await world.putPush(bob, { provider: 'fcm', token: 'x', muted_until: until })).data.muted_until, until);
});

test('[N02] [N03] an away device is woken once for several messages, with an encrypted wake-up without content', async (t) => {
  const { bob, got } = await world.createSubscribedDevice();
  const alice = await (await world.createDevice()).connect();
  for (let i = 0; i < 5; i++) await alice.send(bob, `secret ${i}`);
  await until(() => got.length > 0);
  await world.waitUntilQuiet(bob);
  await alice.send(bob, 'more');
  await world.waitUntilQuiet(bob);
  t.deepEqual(got, ['{"type":"wake"}']);
  t.deepEqual(world.web.errors, []);
  await alice.device.close();
});

test('[N02] an online device is not woken, and one whose socket closes with a backlog is', async (t) => {
  const { bob, got } = await world.createSubscribedDevice();
  const alice = await (await world.createDevice()).connect();
  await bob.connect();
  await alice.send(bob, 'one');
  await until(() => bob.payloads.length === 1);
  await world.waitUntilQuiet(bob);
  t.deepEqual(got, []);
  await bob.device.close();
  await world.waitUntilAway(bob);
  await world.waitUntilQuiet(bob);
  t.deepEqual(got, [], 'nothing waits for it');
  await alice.send(bob, 'two');
  await until(() => got.length === 1);

  const raw = await TestSocket.open(world.at, bob.device.session);
  await raw.waitFor('message.created');
  raw.socket.close();
  await until(() => got.length === 2);
  t.is(raw.framesOf('message.created').length, 1);

  await bob.connect();
  await until(() => bob.payloads.length === 2);
  await bob.device.close();
  await world.waitUntilAway(bob);
  await world.waitUntilQuiet(bob);
  t.is(got.length, 2, 'all was acknowledged');
  await alice.device.close();
});

test('[N02] own messages, receipts and muted times wake nobody, and the end of a mute wakes for what waits', async (t) => {
  const { bob, got } = await world.createSubscribedDevice();
  const alice = await (await world.createDevice()).connect();
  const tablet = await new TestDevice(await addDevice(bob.device.session), world.at.edgeUrl).connect();
  const { conversation_id, seq } = await tablet.send(alice, 'from my other device');
  await until(() => alice.payloads.length === 1);
  await alice.device.read(conversation_id, seq);
  await world.waitUntilQuiet(bob);
  t.deepEqual(got, []);
  const target = await world.env.db.query<{ push: PushTarget }>('select push from devices where id = $1', [
    bob.device.id,
  ]);
  const muted_until = new Date(Date.now() + 3_600_000).toISOString();
  await world.putPush(bob, { ...target[0]!.push, muted_until });
  await world.waitUntilQuiet(bob);
  await alice.send(bob, 'hush');
  await until(
    async () =>
      (
        await world.env.db.query('select 1 from push_states where device_id = $1 and next_at = muted_until', [
          bob.device.id,
        ])
      ).length === 1,
  );
  t.deepEqual(got, []);
  await world.putPush(bob, target[0]!.push);
  await until(() => got.length === 1);
  await Promise.all([alice, tablet].map(({ device }) => device.close()));
});

test('[N02] a dead target is removed, and a failing one is tried again later', async (t) => {
  const alice = await (await world.createDevice()).connect();
  const gone = await world.createSubscribedDevice();
  const busy = await world.createSubscribedDevice();
  gone.browser.status = 410;
  busy.browser.status = 429;
  busy.browser.headers = { 'retry-after': '120' };
  await alice.send(gone.bob, 'x');
  await alice.send(busy.bob, 'x');
  await until(
    async () =>
      (await world.env.db.query('select 1 from devices where id = $1 and push is null', [gone.bob.device.id]))
        .length === 1,
  );
  const later = () =>
    world.env.db.query<{ tries: number }>(
      "select tries from push_states where device_id = $1 and tries > 0 and next_at > now() + interval '80 seconds'",
      [busy.bob.device.id],
    );
  await until(async () => (await later()).length === 1);
  t.is(busy.got.length, 1);
  busy.browser.status = 201;
  await world.env.db.query('update push_states set next_at = now() where device_id = $1', [busy.bob.device.id]);
  await until(() => busy.got.length === 2);
  await alice.device.close();
});

test('[N02] a device that was woken and did not come is woken again at growing intervals', async (t) => {
  const rules = { PUSH_REPEAT_SEC: 900, PUSH_MAX_WAKES: 3, PUSH_MAX_TRIES: 8 };
  const pauses: (number | undefined)[] = [];
  for (let wakes = 0; wakes < 3; wakes++) pauses.push(scheduleAfter({ wakes, tries: 0 }, { is: 'ok' }, rules).in_ms);
  t.deepEqual(pauses, [900_000, 3_600_000, undefined]);
  fc.assert(
    fc.property(
      fc.nat(20),
      fc.nat(10_000_000),
      fc.double({ min: 0, max: 1, noNaN: true }),
      (tries, retry_after_ms, random) => {
        const { in_ms, wakes } = scheduleAfter(
          { wakes: 0, tries },
          { is: 'failed', reason: 'x', retry_after_ms },
          rules,
          random,
        );
        return in_ms === undefined ? tries >= 7 && wakes === 1 : in_ms >= 12_000 && in_ms <= 4_320_000;
      },
    ),
  );
  const { bob, got } = await world.createSubscribedDevice();
  const alice = await (await world.createDevice()).connect();
  await alice.send(bob, 'x');
  await until(() => got.length === 1);
  await world.waitUntilQuiet(bob);
  await world.env.db.query('update push_states set next_at = now() where device_id = $1', [bob.device.id]);
  await until(() => got.length === 2);
  await alice.device.close();
});

test.serial('[N02] items that arrived while the worker was dead cause one wake-up when it is back', async (t) => {
  const { bob, got } = await world.createSubscribedDevice();
  const alice = await (await world.createDevice()).connect();
  await world.waitUntilQuiet(bob);
  await world.worker.kill9();
  await alice.send(bob, 'x');
  await world.env.settle();
  await world.worker.restart();
  await until(async () => {
    const told = await world.env.db.query('select 1 from push_states where device_id = $1 and wakes = 1', [
      bob.device.id,
    ]);
    return told.length === 1;
  });
  await world.worker.kill9();
  await world.worker.restart();
  await world.waitUntilQuiet(bob);
  t.is(got.length, 1);
  await alice.device.close();
});

test.serial('[N02] devices of a killed edge count as away', async (t) => {
  const edge = await world.env.spawn('edge');
  const { bob, got } = await world.createSubscribedDevice();
  const there = new TestDevice(bob.device.session, edge.edgeUrl);
  await there.connect();
  await until(
    async () =>
      (
        await world.env.db.query('select 1 from device_presence where device_id = $1 and edge_id is not null', [
          bob.device.id,
        ])
      ).length === 1,
  );
  const alice = await (await world.createDevice()).connect();
  await edge.kill9();
  // As if it had been killed a while ago.
  await world.env.db.query(
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
