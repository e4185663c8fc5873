/** What goes wrong around an edge: slow and silent peers, other edges, brokers that come back. */
import { jetstreamManager } from '@nats-io/jetstream';
import test from 'ava';
import { WebSocket } from 'ws';
import { consumer, inboxStream } from '../../nats/topology.ts';
import type { Message } from '../../shared/contract/objects.ts';
import { shardOf } from '../../shared/ids.ts';
import { type Addresses, type Env, startEnv } from '../env/index.ts';
import { addDevice, closeDevices, numberedPayloads, registerPerson, TestDevice, TestSocket } from '../env/people.ts';
import { until } from '../env/until.ts';

let env: Env;
let at: Addresses;

test.before(async () => {
  env = await startEnv({
    AWAY_GRACE_MS: 100,
    WS_RATE_LIMIT_MAX_COMMANDS: 1_000_000,
    WS_MAX_BUFFERED_BYTES: 65_536,
    WS_HEARTBEAT_SEC: 2,
    WS_IDLE_TIMEOUT_SEC: 8,
    WS_MAX_UNACKED: 100,
  });
  at = await env.start('ingest', 'fanout', 'history', 'api', 'edge');
});
test.after.always(async () => {
  await env?.stop();
});

const phone = async (edgeUrl = at.edgeUrl): Promise<TestDevice> => new TestDevice(await registerPerson(at), edgeUrl);

test.serial('[R04] the newer connection of a device wins, on one edge and across edges', async (t) => {
  const edge = await env.spawn('edge');
  const session = await registerPerson(at);
  const first = await TestSocket.open(at, session);
  const second = await TestSocket.open(at, session);
  t.is(await first.waitForClose(), 4409);
  const third = await TestSocket.open(edge, session);
  t.is(await second.waitForClose(), 4409);
  third.send({ type: 'ping' });
  await third.waitFor('pong');
  third.socket.close();
  await third.waitForClose();
  await edge.stop();
});

test.serial('[R07] devices of a person on different edges all receive, and a device may move', async (t) => {
  const edge = await env.spawn('edge', { AWAY_GRACE_MS: 100 });
  const [alice, bob] = [await phone(), await phone()];
  const bobs = new TestDevice(await addDevice(bob.device.session), edge.edgeUrl);
  await Promise.all([alice, bob, bobs].map((one) => one.connect()));
  await alice.send(bob, 'one');
  await until(() => bob.payloads.length === 1 && bobs.payloads.length === 1);
  await until(() => alice.statuses.filter(({ status }) => status === 'delivered').length === 2);
  await closeDevices(bob);
  const moved = await new TestDevice(bob.device.session, edge.edgeUrl).connect();
  await alice.send(bob, 'two');
  await until(() => moved.payloads.at(-1) === 'two' && bobs.payloads.at(-1) === 'two');
  // The edge that was left makes a durable after the grace, and is told that the device lives elsewhere.
  const jsm = await jetstreamManager(await env.nats('admin'));
  const stream = inboxStream(shardOf(bob.userId, env.config.INBOX_SHARDS));
  await until(async () => {
    const names = (await jsm.consumers.list(stream).next()).map(({ name }) => name);
    return !names.includes(consumer.device(bob.device.id));
  });
  await closeDevices(alice, moved, bobs);
  await edge.stop();
  t.pass();
});

/** A process of its own, so that what it counts is only this. */
const metric = async (opsUrl: string, line: string): Promise<boolean> =>
  (await (await fetch(`${opsUrl}/metrics`)).text()).includes(line);

test.serial('[R05] a paused reader gets everything in order and slows nobody else', async (t) => {
  const edge = await env.spawn('edge', { WS_MAX_UNACKED: 10_000, WS_IDLE_TIMEOUT_SEC: 120 });
  const [alice, carol] = [await phone(edge.edgeUrl), await phone(edge.edgeUrl)];
  const session = await registerPerson(at);
  await Promise.all([alice.connect(), carol.connect()]);
  const raw = await TestSocket.open(edge, session);
  raw.socket.pause();
  const payloads = numberedPayloads(400, 60_000);
  const bob = new TestDevice(session, edge.edgeUrl);
  const sending = Promise.all(payloads.map((payload) => alice.send(bob, payload)));
  await alice.send(carol, 'quick');
  await until(() => carol.payloads.length === 1);
  await sending;
  await env.settle();
  t.true(raw.framesOf('message.created').length < payloads.length);
  raw.socket.resume();
  // A fanout that was cut off from the broker meanwhile writes its last items twice, under new cursors.
  const got = () =>
    new Map(raw.framesOf('message.created').map(({ message }) => [(message as Message).id, message as Message]));
  await until(() => got().size >= payloads.length);
  t.true(
    [...got().values()].every(({ payload }, i) => payload === payloads[i]),
    'each, in order',
  );
  await until(() => metric(edge.opsUrl, 'stage="edge",outcome="backfill"'));
  raw.socket.terminate();
  await closeDevices(alice, carol);
  await edge.stop();
});

test.serial('[R05] a reader that never reads is closed with 4408 and resumes from its queue', async (t) => {
  // Who does not read does not answer pings either: it must not be closed for that before.
  const edge = await env.spawn('edge', { WS_SLOW_READER_SEC: 1, WS_MAX_UNACKED: 10_000, WS_IDLE_TIMEOUT_SEC: 120 });
  const alice = await phone();
  const session = await registerPerson(at);
  await alice.connect();
  const raw = await TestSocket.open(edge, session);
  raw.socket.pause();
  const bob = new TestDevice(session, at.edgeUrl);
  const payloads: string[] = [];
  let waits = true;
  const closed = until(() => metric(edge.opsUrl, 'sealwire_sockets_closed_total{code="4408"} 1')).finally(() => {
    waits = false;
  });
  // How much the kernel takes for a socket that nobody reads is its own affair: on until that is full, too.
  while (waits) {
    const more = numberedPayloads(50, 60_000).map((payload) => `${payloads.length}:${payload}`);
    payloads.push(...more);
    await Promise.all(more.map((payload) => alice.send(bob, payload)));
  }
  await closed;
  raw.socket.terminate();
  await bob.connect();
  await until(() => bob.payloads.length >= payloads.length);
  t.deepEqual(bob.payloads, payloads);
  await closeDevices(alice, bob);
  await edge.stop();
});

test.serial(
  '[M05] a device that does not acknowledge gets items up to the limit, and the rest afterwards',
  async (t) => {
    const alice = await phone();
    const session = await registerPerson(at);
    await alice.connect();
    const raw = await TestSocket.open(at, session);
    const bob = new TestDevice(session, at.edgeUrl);
    const payloads = numberedPayloads(350);
    await Promise.all(payloads.map((payload) => alice.send(bob, payload)));
    await env.settle();
    await raw.waitFor('message.created', 100);
    raw.send({ type: 'ping' });
    await raw.waitFor('pong');
    t.is(raw.framesOf('message.created').length, 100);
    raw.send({ type: 'inbox.ack', cursor: Number.MAX_SAFE_INTEGER });
    await raw.waitFor('message.created', 200);
    raw.socket.terminate();
    await until(() => raw.closeCode !== undefined);
    // What was clipped to what had been sent is safe; what came after it is not.
    await bob.connect();
    t.deepEqual(bob.payloads, payloads.slice(100));
    await closeDevices(alice, bob);
  },
);

test.serial('[R02] a half-open socket is closed, and one that answers pings stays open', async (t) => {
  const [deaf, fine] = [await registerPerson(at), await registerPerson(at)];
  const answering = await TestSocket.open(at, fine);
  const headers = { authorization: `Bearer ${deaf.access_token}` };
  const socket = new WebSocket(`${at.edgeUrl}/v1/ws`, { headers, autoPong: false });
  let closed = false;
  let pings = 0;
  socket.on('ping', () => pings++);
  socket.on('close', () => {
    closed = true;
  });
  await until(() => closed);
  t.true(pings >= 2);
  t.is(answering.closeCode, undefined);
  answering.send({ type: 'ping' });
  await answering.waitFor('pong');
  answering.socket.close();
});

test.serial(
  '[R07] [M05] live delivery resumes after the broker was killed and restarted, with nothing lost',
  async (t) => {
    const [alice, bob] = [await phone(), await phone()];
    await Promise.all([alice.connect(), bob.connect()]);
    await alice.send(bob, 'before');
    await until(() => bob.payloads.length === 1);
    await env.broker.kill9();
    const waiting = Promise.all(numberedPayloads(50).map((payload) => alice.send(bob, payload)));
    await env.broker.restart();
    await waiting;
    await until(() => bob.payloads.length >= 51);
    t.deepEqual(new Set(bob.payloads), new Set(['before', ...numberedPayloads(50)]));
    await closeDevices(alice, bob);
  },
);

test.serial('[R06] the sockets of a draining edge reconnect elsewhere with nothing lost', async (t) => {
  const edge = await env.spawn('edge');
  const [alice, bob] = [await phone(), await phone(edge.edgeUrl)];
  await Promise.all([alice.connect(), bob.connect()]);
  const payloads = numberedPayloads(200);
  const sending = (async () => {
    for (const payload of payloads) await alice.send(bob, payload);
  })();
  await until(() => bob.payloads.length > 20);
  await edge.stop();
  await until(() => bob.frames.some(({ type }) => type === 'connection.draining'));
  await sending;
  await closeDevices(bob);
  const back = await new TestDevice(bob.device.session, at.edgeUrl).connect();
  t.deepEqual([...new Set([...bob.payloads, ...back.payloads])], payloads);
  await closeDevices(alice, back);
});
