/** Items that were not heard, or that the inbox has no more: found, or told. */
import { jetstreamManager } from '@nats-io/jetstream';
import test, { type ExecutionContext } from 'ava';
import { inboxStream } from '../../nats/topology.ts';
import { shardOf } from '../../shared/ids.ts';
import { type Addresses, type Env, startEnv } from '../env/index.ts';
import { addDevice, closeDevices, numberedPayloads, TestDevice, TestSocket } from '../env/people.ts';
import { until } from '../env/until.ts';

/** A second in nanoseconds. */
const SHORT_NS = 1_000_000_000;
let env: Env;
let at: Addresses;
test.before(async () => {
  env = await startEnv({
    AWAY_GRACE_MS: 100,
    WS_RATE_LIMIT_MAX_COMMANDS: 1_000_000,
    WS_MAX_UNACKED: 100,
    INBOX_SHARDS: 1,
  });
  at = await env.start('ingest', 'fanout', 'history', 'api', 'edge');
});
test.after.always(() => env?.stop());

const phone = (): Promise<TestDevice> => TestDevice.register(at);

test.serial('[M04] an item that was stored but not heard live is fetched when the next one arrives', async (t) => {
  const [alice, bob] = [await phone(), await phone()];
  await Promise.all([alice.connect(), bob.connect()]);
  await alice.send(bob, 'heard');
  const jsm = await jetstreamManager(await env.nats('admin'));
  const stream = inboxStream(shardOf(bob.userId, env.config.INBOX_SHARDS));
  const { config } = await jsm.streams.info(stream);
  const { republish, ...silent } = config;
  const admin = await env.nats('admin');
  const change = (to: object) => admin.request(`$JS.API.STREAM.UPDATE.${stream}`, JSON.stringify(to));
  await until(() => bob.payloads.length === 1);
  await change(silent);
  await alice.send(bob, 'not heard');
  await env.settle();
  t.deepEqual(bob.payloads, ['heard']);
  await change({ ...silent, republish });
  await alice.send(bob, 'heard again');
  await until(() => bob.payloads.length === 3);
  t.deepEqual(bob.payloads, ['heard', 'not heard', 'heard again']);
  await closeDevices(alice, bob);
});

test.serial('[M06] a cursor of a deleted inbox stream gets a gap, and history fills it', async (t) => {
  const [alice, bob] = [await phone(), await phone()];
  await Promise.all([alice.connect(), bob.connect()]);
  await alice.send(bob, 'before');
  await until(() => bob.payloads.length === 1);
  await closeDevices(bob);
  await alice.send(bob, 'lost from the inbox');
  await env.settle();
  const jsm = await jetstreamManager(await env.nats('admin'));
  const stream = inboxStream(shardOf(bob.userId, env.config.INBOX_SHARDS));
  await jsm.streams.delete(stream);
  await alice.send(bob, 'after');
  await env.settle();
  const back = new TestDevice(bob.device.session, at.edgeUrl);
  const seen: string[] = [];
  back.device.on('message', ({ message }) => void seen.push(message.payload!));
  await back.connect();
  await until(() => seen.includes('after') && seen.includes('lost from the inbox'));
  t.is(back.gaps.length, 1);
  t.is(back.gaps[0]!.reason, 'reset');
  t.is(seen.filter((payload) => payload === 'after').length, 1);
  t.true(back.cursors.every((cursor, i) => i === 0 || cursor > back.cursors[i - 1]!));
  await closeDevices(alice, back);
});

test.serial('[M06] items that the inbox dropped for their age are announced by a gap', async (t) => {
  const [alice, bob] = [await phone(), await phone()];
  await Promise.all([alice.connect(), bob.connect()]);
  await alice.send(bob, 'before');
  await until(() => bob.payloads.length === 1);
  await closeDevices(bob);
  // Written for the last time: when that was is held against the age of what comes next.
  await until(async () => {
    const [row] = await env.db.query<{ cursor: number }>('select cursor from device_cursors where device_id = $1', [
      bob.device.id,
    ]);
    return row?.cursor === bob.cursors.at(-1);
  });
  await alice.send(bob, 'too old');
  await age(t);
  await alice.send(bob, 'young');
  const back = await new TestDevice(bob.device.session, at.edgeUrl).connect();
  t.is(back.gaps[0]?.reason, 'retention');
  await until(() => back.payloads.includes('too old') && back.payloads.includes('young'));
  await closeDevices(alice, back);
});

test.serial('[M06] items that the quota removed are announced by a gap', async (t) => {
  const [alice, bob] = [await phone(), await phone()];
  await Promise.all([alice.connect(), bob.connect()]);
  // It stays at the beginning of the stream, so that what is dropped there is not taken for too old.
  await alice.send(await phone(), 'at the beginning');
  await alice.send(bob, 'before');
  await until(() => bob.payloads.length === 1);
  await closeDevices(bob);
  const jsm = await jetstreamManager(await env.nats('admin'));
  const stream = inboxStream(shardOf(bob.userId, env.config.INBOX_SHARDS));
  const { config } = await jsm.streams.info(stream);
  await jsm.streams.update(stream, { ...config, max_msgs_per_subject: 10 });
  const payloads = numberedPayloads(30);
  for (const payload of payloads) await alice.send(bob, payload);
  await env.settle();
  const other = await env.spawn('edge');
  const back = await new TestDevice(bob.device.session, other.edgeUrl).connect();
  t.is(back.gaps[0]?.reason, 'quota');
  await until(() => payloads.every((payload) => back.payloads.includes(payload)));
  await closeDevices(alice, back);
  await other.stop();
  await jsm.streams.update(stream, config);
});

/** Lets everything that the inbox has now grow too old: until the end of the test the broker keeps items for a second. */
async function age(t: ExecutionContext): Promise<void> {
  await env.settle();
  const jsm = await jetstreamManager(await env.nats('admin'));
  const { config, state } = await jsm.streams.info(inboxStream(0));
  if (config.max_age !== SHORT_NS) {
    await jsm.streams.update(inboxStream(0), { ...config, max_age: SHORT_NS });
    t.teardown(async () => void (await jsm.streams.update(inboxStream(0), config)));
  }
  await until(async () => (await jsm.streams.info(inboxStream(0))).state.first_seq > state.last_seq);
}
/** When the database has written that the device has everything that was stored before the call. */
async function settled(phone: TestDevice): Promise<void> {
  const now = Date.now();
  await closeDevices(phone);
  await until(async () => {
    const rows = await env.db.query<{ updated_at: Date }>(
      'select updated_at from device_cursors where device_id = $1',
      [phone.device.id],
    );
    return (rows[0]?.updated_at.getTime() ?? 0) >= now;
  });
}

test.serial('[M06] a device that never connected gets a gap for first items that grew too old', async (t) => {
  const [alice, bob] = [await phone(), await phone()];
  const [second, third] = [await addDevice(bob.device.session), await addDevice(bob.device.session)];
  await alice.connect();
  await alice.send(bob, 'too old');
  await age(t);
  await alice.send(bob, 'young');
  const some = await new TestDevice(second, at.edgeUrl).connect();
  t.deepEqual(
    some.gaps.map(({ reason }) => reason),
    ['retention'],
  );
  await until(() => some.payloads.includes('too old') && some.payloads.includes('young'));
  await age(t);
  const none = await new TestDevice(third, at.edgeUrl).connect();
  t.deepEqual(
    none.gaps.map(({ reason }) => reason),
    ['retention'],
    'where nothing is left in the stream',
  );
  await until(() => none.payloads.includes('too old') && none.payloads.includes('young'));
  await closeDevices(alice, some, none);
  const again = await new TestDevice(third, at.edgeUrl).connect();
  t.deepEqual(again.gaps, [], 'once');
  await closeDevices(again);
});

test.serial('[M06] a device whose shard is empty gets a gap for what it lost', async (t) => {
  const [alice, bob] = [await phone(), await phone()];
  await Promise.all([alice.connect(), bob.connect()]);
  await alice.send(bob, 'before');
  await until(() => bob.payloads.length === 1);
  await settled(bob);
  await alice.send(bob, 'too old');
  await age(t);
  const back = await new TestDevice(bob.device.session, at.edgeUrl).connect();
  t.deepEqual(
    back.gaps.map(({ reason }) => reason),
    ['retention'],
  );
  await until(() => back.payloads.includes('too old'));
  await closeDevices(alice, back);
});

test.serial(
  '[M06] a device that acknowledged only some items gets a gap for the rest, however young its cursor is',
  async (t) => {
    const [alice, bob] = [await phone(), await phone()];
    await alice.connect();
    const raw = await TestSocket.open(at, bob.device.session);
    for (const payload of ['first', 'second', 'third']) await alice.send(bob, payload);
    const { cursor } = await raw.waitFor('message.created');
    await raw.waitFor('message.created', 3);
    await alice.send(await phone(), 'for somebody else');
    await env.settle();
    raw.send({ type: 'inbox.ack', cursor });
    await until(async () => {
      const rows = await env.db.query<{ cursor: number }>('select cursor from device_cursors where device_id = $1', [
        bob.device.id,
      ]);
      return rows[0]?.cursor === cursor;
    });
    raw.socket.close();
    await raw.waitForClose();
    await age(t);
    await bob.connect();
    t.deepEqual(
      bob.gaps.map(({ reason }) => reason),
      ['retention'],
    );
    await until(() => ['second', 'third'].every((payload) => bob.payloads.includes(payload)));
    await closeDevices(alice, bob);
  },
);

test.serial('[M06] a device that has everything gets no gap when items of others grow too old', async (t) => {
  const [alice, bob] = [await phone(), await phone()];
  await Promise.all([alice.connect(), bob.connect()]);
  await alice.send(bob, 'the last one for bob');
  await until(() => bob.payloads.length === 1);
  for (const payload of ['for somebody else', 'for somebody else too']) await alice.send(await phone(), payload);
  await env.settle();
  await settled(bob);
  const jsm = await jetstreamManager(await env.nats('admin'));
  const { state } = await jsm.streams.info(inboxStream(0));
  await jsm.streams.purge(inboxStream(0), { seq: state.last_seq });
  const back = await new TestDevice(bob.device.session, at.edgeUrl).connect();
  t.deepEqual(back.gaps, []);
  const young = await new TestDevice(await addDevice(bob.device.session), at.edgeUrl).connect();
  t.deepEqual(young.gaps, [], 'nor does one that was made afterwards');
  await closeDevices(alice, back, young);
});
