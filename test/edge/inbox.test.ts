/** Items on their way to devices: live, and from the durable consumer of a device that was away. */
import { jetstreamManager } from '@nats-io/jetstream';
import test from 'ava';
import { consumer, inboxStream, MARKS } from '../../nats/topology.ts';
import { shardOf } from '../../shared/ids.ts';
import { type Addresses, type Env, startEnv } from '../env/index.ts';
import { addDevice, closeDevices, TestDevice } from '../env/people.ts';
import { until } from '../env/until.ts';

let env: Env;
let at: Addresses;

test.before(async () => {
  env = await startEnv({ AWAY_GRACE_MS: 100, WS_RATE_LIMIT_MAX_COMMANDS: 100_000 });
  at = await env.start('ingest', 'fanout', 'history', 'api', 'edge');
});
test.after.always(async () => {
  await env?.stop();
});

const phone = (): Promise<TestDevice> => TestDevice.register(at);
/** What the broker says about a device's durable, if it has one. */
async function durable({ device, userId }: TestDevice) {
  const jsm = await jetstreamManager(await env.nats('admin'));
  const stream = inboxStream(shardOf(userId, env.config.INBOX_SHARDS));
  return await jsm.consumers.info(stream, consumer.device(device.id)).catch(() => undefined);
}

test('[M04] online recipients get a message live on all their devices, and the sender on the other devices', async (t) => {
  const [alice, bob] = [await phone(), await phone()];
  const bobs = new TestDevice(await addDevice(bob.device.session), at.edgeUrl);
  const alices = new TestDevice(await addDevice(alice.device.session), at.edgeUrl);
  await Promise.all([alice, alices, bob, bobs].map((one) => one.connect()));
  const payloads = Array.from({ length: 50 }, (_, i) => `p${i} "\\ 🦭`);
  const sent = await Promise.all(payloads.map((payload) => alice.send(bob, payload)));
  t.deepEqual(
    sent.map(({ seq }) => seq),
    payloads.map((_, i) => i + 1),
  );
  await until(() => [bob, bobs, alices].every((one) => one.payloads.length === payloads.length));
  for (const one of [bob, bobs, alices]) {
    t.deepEqual(one.payloads, payloads);
    t.true(one.cursors.every((cursor, i) => i === 0 || cursor > one.cursors[i - 1]!));
  }
  t.deepEqual(alice.payloads, []);
  // That somebody else has a new device was waiting for each of them, and is replayed from one.
  await until(async () => (await durable(bob)) === undefined);
  t.is(await durable(bob), undefined, 'who is live has no durable');
  await Promise.all([alice, alices, bob, bobs].map((one) => one.device.close()));
});

test('[M05] a device that was away gets everything it missed in order from its durable consumer', async (t) => {
  const [alice, bob] = [await phone(), await phone()];
  await Promise.all([alice.connect(), bob.connect()]);
  await alice.send(bob, 'first');
  await until(() => bob.payloads.length === 1);
  await bob.device.close();
  const missed = Array.from({ length: 700 }, (_, i) => `missed ${i}`);
  await Promise.all(missed.map((payload) => alice.send(bob, payload)));
  await env.settle();
  // Those that fanout wrote twice are among them.
  await until(async () => ((await durable(bob))?.num_pending ?? 0) >= missed.length);

  const back = await new TestDevice(bob.device.session, at.edgeUrl).connect();
  t.true(back.device.welcome!.backlog >= missed.length);
  t.deepEqual(back.payloads, missed);
  t.deepEqual(back.gaps, []);
  await alice.send(bob, 'live again');
  await until(() => back.payloads.at(-1) === 'live again');
  await until(async () => (await durable(bob)) === undefined);
  await back.device.close();

  const again = await new TestDevice(bob.device.session, at.edgeUrl).connect();
  t.deepEqual(again.payloads, [], 'acknowledged is gone from the queue');
  await Promise.all([again, alice].map((one) => one.device.close()));
});

test('[M06] checkpoints of fanout leave no hole in a shard, and a new device gets no gap', async (t) => {
  const [alice, bob] = [await phone(), await phone()];
  await alice.connect();
  const jsm = await jetstreamManager(await env.nats('admin'));
  const stream = inboxStream(shardOf(bob.userId, env.config.INBOX_SHARDS));
  const marks = async (): Promise<number> => (await jsm.streams.info(MARKS)).state.last_seq;
  for (const before = await marks(); (await marks()) < before + 2; ) await alice.send(bob, 'one of many');
  const { state } = await jsm.streams.info(stream);
  t.like(state, { first_seq: 1, num_deleted: undefined });
  await bob.connect();
  t.deepEqual(bob.gaps, []);
  await closeDevices(alice, bob);
});
