/** Devices of a person: managed over HTTP, felt over the socket and in the broker. */
import { jetstreamManager } from '@nats-io/jetstream';
import test from 'ava';
import type { Session } from '../../client/index.ts';
import { consumer, inboxStream, subject } from '../../nats/topology.ts';
import { shardOf, uuid7 } from '../../shared/ids.ts';
import { Api, QUICK_HASHING } from '../api/http.ts';
import { type Addresses, type Env, startEnv } from '../env/index.ts';
import { addDevice, registerPerson, TestDevice, TestSocket } from '../env/people.ts';
import { until } from '../env/until.ts';

let env: Env;
let at: Addresses;
let api: Api;
test.before(async () => {
  env = await startEnv({ ...QUICK_HASHING, AWAY_GRACE_MS: 50 });
  at = await env.start('ingest', 'fanout', 'history', 'api', 'edge');
  api = new Api(at.apiUrl);
});
test.after.always(() => env?.stop());

const token = (session: Session) => ({ token: session.access_token });
const publish = (session: Session, body: object) => api.ask('keys.publish', { ...token(session), body });

test('[K01] a person lists, renames and changes the own devices and nobody else’s', async (t) => {
  const [alice, bob] = [await registerPerson(at), await registerPerson(at)];
  const tablet = await addDevice(alice);
  const list = async () => (await api.ask('devices.list', token(alice))).data.items;
  t.deepEqual(
    (await list()).map(({ id, name, current }) => [id, name, current]),
    [
      [alice.device.id, 'first', true],
      [tablet.device.id, 'another', false],
    ],
  );
  const patch = (id: string, body: object, who = alice) => api.ask('devices.update', { ...token(who), id, body });
  const target = { provider: 'unifiedpush', endpoint: 'https://push.example/x' };
  const wake = (body: object, who = alice) =>
    api.ask('push.targets.put', { ...token(who), id: tablet.device.id, body });
  t.is((await wake(target)).status, 200);
  t.is((await wake(target, bob)).error?.code, 'not_found');
  const renamed = await patch(tablet.device.id, { name: 'Küche', platform: 'ipados' });
  t.like(renamed.data, { id: tablet.device.id, name: 'Küche', platform: 'ipados', push_provider: 'unifiedpush' });
  t.false(JSON.stringify(renamed.data).includes('push.example'), 'the target is a secret');
  await wake({ provider: 'none' });
  t.is((await list())[1]!.push_provider, undefined);
  t.like((await list())[1], { name: 'Küche', platform: 'ipados' });
  t.is((await patch(tablet.device.id, { name: 'mine' }, bob)).error?.code, 'not_found');
  t.is((await patch(uuid7(), { name: 'x' })).error?.code, 'not_found');
  for (const body of [{}, { name: '' }, { name: 'x'.repeat(129) }, { push: target }, { id: uuid7() }])
    t.is((await patch(tablet.device.id, body)).error?.code, 'invalid_request', JSON.stringify(body).slice(0, 40));
  const one = await api.ask('devices.list', { ...token(alice), query: { limit: 1 } });
  const rest = await api.ask('devices.list', { ...token(alice), query: { limit: 1, cursor: one.data.next_cursor! } });
  t.deepEqual(
    [...one.data.items, ...rest.data.items].map(({ id }) => id),
    [alice.device.id, tablet.device.id],
  );
});

test('[K01] deleting a device removes its sessions, keys, push target, socket, queue and durable', async (t) => {
  const [alice, bob] = [await registerPerson(at), await registerPerson(at)];
  const lost = await addDevice(bob);
  await publish(bob, { identity_key: 'Ym9i' });
  await publish(lost, { identity_key: 'bG9zdA==' });
  await api.ask('keys.prekeys.add', { ...token(lost), body: { one_time: [{ key_id: '1', public_key: 'eA==' }] } });
  await api.ask('push.targets.put', { ...token(lost), id: lost.device.id, body: { provider: 'fcm', token: 'q' } });
  const jsm = await jetstreamManager(await env.nats('admin'));
  const stream = inboxStream(shardOf(bob.user.id, env.config.INBOX_SHARDS));
  const queue = subject.inbox(bob.user.id, lost.device.id, env.config.INBOX_SHARDS);
  const queued = async () =>
    Object.values((await jsm.streams.info(stream, { subjects_filter: queue })).state.subjects ?? {})[0] ?? 0;
  const durable = () =>
    jsm.consumers.info(stream, consumer.device(lost.device.id)).then(
      () => true,
      () => false,
    );

  const phone = await new TestDevice(alice, at.edgeUrl).connect();
  const { conversation_id } = await phone.device.send({ to: { user_id: bob.user.id }, payload: 'hello' });
  const seal = (devices: Session[]) =>
    phone.device.send({
      conversation_id,
      envelopes: devices.map(({ device }) => ({ device_id: device.id, payload: device.id })),
    });
  // It was there once, and is away with items waiting.
  const before = await new TestDevice(lost, at.edgeUrl).connect();
  await before.device.close();
  await seal([bob, lost]);
  await until(async () => (await queued()) === 1 && (await durable()));
  const socket = await TestSocket.open(at, lost);

  const gone = await api.ask('devices.delete', { ...token(bob), id: lost.device.id });
  t.is(gone.status, 200);
  t.is(await queued(), 0);
  t.is(await socket.waitForClose(), 4401);
  const heard = socket.frames.length;

  t.is((await api.ask('accounts.get', token(lost))).error?.code, 'unauthenticated');
  t.is(
    (await api.ask('auth.refresh', { body: { refresh_token: lost.refresh_token! } })).error?.code,
    'unauthenticated',
  );
  const refused = new TestSocket(`${at.edgeUrl}/v1/ws`, { authorization: `Bearer ${lost.access_token}` });
  await refused.waitForClose();
  t.deepEqual(refused.frames, []);
  const error = await t.throwsAsync(seal([bob, lost]), { message: /devices/ });
  t.like(error, { code: 'device_mismatch', details: { missing: [], extra: [lost.device.id], stale: [] } });
  await seal([bob]);
  await env.settle();
  t.is(await queued(), 0);
  await until(async () => !(await durable()));
  t.is(socket.frames.length, heard);
  const claimed = await api.ask('keys.prekeys.claim', { ...token(alice), id: bob.user.id, body: {} });
  t.deepEqual(
    claimed.data.devices.map(({ device_id }) => device_id),
    [bob.device.id],
  );
  t.deepEqual(
    (await api.ask('devices.listOfUser', { ...token(alice), id: bob.user.id })).data.items.map(({ id }) => id),
    [bob.device.id],
  );
  const [row] = await env.db.query(
    `select push, identity_key, (select count(*)::int from prekeys where device_id = d.id) as prekeys,
       (select count(*)::int from sessions where device_id = d.id and revoked_at is null) as sessions,
       (select count(*)::int from device_cursors where device_id = d.id) as cursors
     from devices d where id = $1`,
    [lost.device.id],
  );
  t.deepEqual(row, { push: null, identity_key: null, prekeys: 0, sessions: 0, cursors: 0 });
  t.is((await api.ask('devices.delete', { ...token(bob), id: lost.device.id })).error?.code, 'not_found');
  await phone.device.close();
});

test('[K01] a message in flight during the deletion of its device is not delivered after the answer', async (t) => {
  const [alice, bob] = [await registerPerson(at), await registerPerson(at)];
  const lost = await addDevice(bob);
  const [phone, target] = await Promise.all([new TestDevice(alice, at.edgeUrl).connect(), TestSocket.open(at, lost)]);
  let on = true;
  const sending = (async () => {
    for (let i = 0; on; i++) await phone.device.send({ to: { user_id: bob.user.id }, payload: `p${i}` });
  })();
  await target.waitFor('message.created', 20);
  await api.ask('devices.delete', { ...token(bob), id: lost.device.id });
  await target.waitForClose();
  const last = target.framesOf('message.created').length;
  await phone.send(new TestDevice(bob, at.edgeUrl), 'after');
  on = false;
  await sending;
  t.is(target.framesOf('message.created').length, last);
  t.is(target.closeCode, 4401);
  await phone.device.close();
});

test('[K01] a device may delete itself, which logs it out for good', async (t) => {
  const bob = await registerPerson(at);
  t.is((await api.ask('devices.delete', { ...token(bob), id: bob.device.id })).status, 200);
  t.is((await api.ask('accounts.get', token(bob))).error?.code, 'unauthenticated');
});

test('[K02] keys are published, replaced and read, with or without a registration id', async (t) => {
  const [alice, bob] = [await registerPerson(at), await registerPerson(at)];
  const read = async () => (await api.ask('devices.listOfUser', { ...token(alice), id: bob.user.id })).data.items[0]!;
  t.is((await read()).identity_key, undefined);
  const signing_key = Buffer.alloc(32, 7).toString('base64');
  const first = await publish(bob, { identity_key: 'b25l', registration_id: 5, signing_key });
  t.like(first.data, { identity_key: 'b25l', registration_id: 5, signing_key });
  t.like(await read(), { identity_key: 'b25l', registration_id: 5, signing_key });
  t.is((await publish(bob, { identity_key: 'b25l' })).data.registration_id, 5, 'the same key keeps its registration');
  await api.ask('keys.prekeys.add', { ...token(bob), body: { one_time: [{ key_id: '1', public_key: 'eA==' }] } });
  const second = await publish(bob, { identity_key: 'dHdv' });
  t.not(second.data.registration_id, 5);
  t.is(second.data.signing_key, undefined);
  t.is((await api.ask('keys.prekeys.count', token(bob))).data.count, 0, 'prekeys of the old identity are taken back');
  for (const body of [{}, { identity_key: '' }, { identity_key: 'ü' }, { identity_key: 'x', signing_key: 'short' }])
    t.is((await publish(bob, body)).error?.code, 'invalid_request');
  const carol = await api.register({ keys: { identity_key: 'Y2Fyb2w=' } });
  t.is(typeof carol.device.registration_id, 'number');
});
