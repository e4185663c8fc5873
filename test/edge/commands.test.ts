/** What clients ask for, good and bad. */
import test from 'ava';
import fc from 'fast-check';
import { ERROR_STATUS } from '../../shared/contract/errors.ts';
import { uuid7 } from '../../shared/ids.ts';
import { type Addresses, type Env, startEnv } from '../env/index.ts';
import { addDevice, registerPerson, TestDevice, TestSocket } from '../env/people.ts';
import { until } from '../env/until.ts';

let env: Env;
let at: Addresses;

test.before(async () => {
  env = await startEnv({
    MESSAGE_MAX_BYTES: 1_000,
    WS_MAX_COMMAND_BYTES: 4_096,
    WS_RATE_LIMIT_MAX_COMMANDS: 40,
    // So that no test sees its window end.
    WS_RATE_LIMIT_WINDOW_SEC: 86_400,
  });
  at = await env.start('ingest', 'fanout', 'history', 'api', 'edge');
});
test.after.always(async () => {
  await env?.stop();
});

const openSocket = async (): Promise<TestSocket> => await TestSocket.open(at, await registerPerson(at));

test('[M01] [M07] a message is queued, sent, delivered and read, and the ack echoes the id', async (t) => {
  const [mine, theirs] = [await registerPerson(at), await registerPerson(at)];
  const alice = await TestSocket.open(at, mine);
  const bob = await new TestDevice(theirs, at.edgeUrl).connect();
  const send = {
    type: 'message.send',
    id: 'a"1',
    to: { user_id: bob.userId },
    client_message_id: 'c1',
    payload: 'é"\\',
  };
  alice.send(send);
  const ack = await alice.waitFor('ack');
  t.like(ack, { id: 'a"1', seq: 1, status: 'queued' });
  await until(() => bob.payloads.length === 1);
  t.deepEqual(bob.payloads, ['é"\\']);
  const { message_id, conversation_id } = ack;
  await alice.waitFor('message.status', 2);
  const statuses = alice.framesOf('message.status');
  const sent = statuses.find(({ status }) => status === 'sent');
  t.like(sent, { message_id, conversation_id, seq: 1, client_message_id: 'c1' });
  const delivered = { status: 'delivered', message_id, conversation_id, seq: 1, user_id: bob.userId };
  t.like(
    statuses.find(({ status }) => status === 'delivered'),
    { ...delivered, device_id: theirs.device.id },
  );
  await bob.device.read(String(conversation_id), 1);
  t.like(await alice.waitFor('message.status', 3), { status: 'read', conversation_id, seq: 1, user_id: bob.userId });

  alice.send({ ...send, id: 'again' });
  t.like(await alice.waitFor('ack', 2), { id: 'again', message_id, seq: 1 });
  alice.socket.close();
  await bob.device.close();
});

test('[M01] a message is addressed by number, by conversation or with one envelope per device', async (t) => {
  const [mine, theirs] = [await registerPerson(at), await registerPerson(at)];
  const alice = await TestSocket.open(at, mine);
  const bob = await new TestDevice(theirs, at.edgeUrl).connect();
  const second = await new TestDevice(await addDevice(theirs), at.edgeUrl).connect();
  alice.send({
    type: 'message.send',
    to: { number: theirs.user.number },
    client_message_id: 'n1',
    payload: 'by number',
  });
  const { conversation_id } = await alice.waitFor('ack');
  const envelopes = [bob, second].map(({ device }, i) => ({ device_id: device.id, payload: `for ${i}` }));
  alice.send({ type: 'message.send', conversation_id, client_message_id: 'n2', envelopes });
  await until(() => bob.payloads.length === 2 && second.payloads.length === 2);
  t.deepEqual(bob.payloads, ['by number', 'for 0']);
  t.deepEqual(second.payloads, ['by number', 'for 1']);
  alice.socket.close();
  await Promise.all([bob.device.close(), second.device.close()]);
});

test('[H01] history.get pages history over the socket', async (t) => {
  const alice = await openSocket();
  const bob = await registerPerson(at);
  for (let i = 1; i <= 3; i++)
    alice.send({ type: 'message.send', to: { user_id: bob.user.id }, client_message_id: `h${i}`, payload: `p${i}` });
  const { conversation_id } = await alice.waitFor('ack', 3);
  await env.settle();
  alice.send({ type: 'history.get', id: 'h', conversation_id, after_seq: 1, limit: 1 });
  const history = await alice.waitFor('history');
  t.like(history, { id: 'h', more: true });
  t.is((history.messages as { payload: string }[])[0]!.payload, 'p2');
  alice.socket.close();
});

test('[A07] a stranger gets the same answer about an existing conversation as about a missing one', async (t) => {
  const alice = await openSocket();
  const bob = await registerPerson(at);
  alice.send({ type: 'message.send', to: { user_id: bob.user.id }, client_message_id: 'one', payload: 'x' });
  const { conversation_id } = await alice.waitFor('ack');
  await env.settle();
  const stranger = await openSocket();
  let errors = 0;
  for (const frame of [
    { type: 'history.get' },
    { type: 'receipt.read', seq: 1 },
    { type: 'message.send', client_message_id: 'one', payload: 'x' },
  ]) {
    stranger.send({ ...frame, id: 'q', conversation_id });
    const refused = await stranger.waitFor('error', ++errors);
    t.is(refused.code, 'not_found', frame.type);
    stranger.send({ ...frame, id: 'q', conversation_id: uuid7() });
    t.deepEqual(await stranger.waitFor('error', ++errors), refused, frame.type);
  }
  for (const one of [alice, stranger]) one.socket.close();
});

test('[M07] [R02] a refused message gets an error and a rejected status with the reason', async (t) => {
  const alice = await openSocket();
  const to = { user_id: (await registerPerson(at)).user.id };
  const wrong: [object, string][] = [
    [{ to, payload: 'x'.repeat(1_001) }, 'too_large'],
    [{ to, payload: '🦭'.repeat(251) }, 'too_large'],
    [{ to }, 'invalid_request'],
    [{ to, payload: '' }, 'invalid_request'],
    [{ payload: 'x' }, 'invalid_request'],
    [{ to, conversation_id: uuid7(), payload: 'x' }, 'invalid_request'],
    [{ to: {}, payload: 'x' }, 'invalid_request'],
    [{ to: { ...to, number: '12345678' }, payload: 'x' }, 'invalid_request'],
    [{ to: { number: '00000000' }, payload: 'x' }, 'not_found'],
    [{ to: { user_id: uuid7() }, payload: 'x' }, 'not_found'],
    [{ conversation_id: uuid7(), payload: 'x' }, 'not_found'],
    [{ to, payload: 'x', envelopes: [{ device_id: uuid7(), payload: 'x' }] }, 'invalid_request'],
    [{ to, envelopes: [{ device_id: uuid7(), payload: 'x' }] }, 'device_mismatch'],
    [{ to, payload: 'x', colour: 'red' }, 'invalid_request'],
  ];
  for (const [i, [frame, code]] of wrong.entries()) {
    const client_message_id = `bad${i}`;
    alice.send({ type: 'message.send', id: `i${i}`, client_message_id, ...frame });
    t.like(await alice.waitFor('error', i + 1), { id: `i${i}`, client_message_id, code }, JSON.stringify(frame));
    t.like(await alice.waitFor('message.status', i + 1), { status: 'rejected', reason: code, client_message_id });
  }
  alice.send({ type: 'message.send', id: 'ok', client_message_id: 'ok', to, payload: '🦭'.repeat(250) });
  t.like(await alice.waitFor('ack'), { id: 'ok' });
  alice.socket.close();
});

test('[R03] two malformed frames get errors, the third closes with 4400; unknown types and fields only get errors', async (t) => {
  const one = await openSocket();
  for (const frame of ['{"type":"dance"}', '{"type":"ping","x":1}', '{"type":"inbox.ack"}']) one.send(frame);
  await one.waitFor('error', 3);
  t.true(one.framesOf('error').every(({ code }) => code === 'invalid_request'));
  for (const frame of ['{', '[]']) one.send(frame);
  await one.waitFor('error', 5);
  t.is(one.closeCode, undefined);
  one.socket.send(Buffer.from('{"type":"ping"}'), { binary: true });
  t.is(await one.waitForClose(), 4400);
});

test('[R03] an oversized frame or invalid UTF-8 closes that socket and no other', async (t) => {
  const [large, bad, fine] = [await openSocket(), await openSocket(), await openSocket()];
  large.send('x'.repeat(5_000));
  t.true([1006, 1009].includes(await large.waitForClose()));
  bad.socket.send(Buffer.from([0x7b, 0xff, 0xfe]), { binary: false });
  t.true([1006, 1007].includes(await bad.waitForClose()));
  fine.send({ type: 'ping' });
  await fine.waitFor('pong');
  fine.socket.close();
});

test('[R03] commands over the limit are refused with a wait, many more close the socket, and acks are free', async (t) => {
  const one = await openSocket();
  for (let i = 0; i < 200; i++) one.send({ type: 'inbox.ack', cursor: i });
  for (let i = 0; i < 41; i++) one.send({ type: 'dance', id: String(i) });
  const error = await one.waitFor('error', 41);
  t.like(error, { id: '40', code: 'rate_limited' });
  t.true(Number(error.retry_after_ms) > 0 && Number(error.retry_after_ms) <= 86_400_000);
  one.send({ type: 'ping' });
  await one.waitFor('pong');
  for (let i = 0; i < 80; i++) one.send({ type: 'dance' });
  t.is(await one.waitForClose(), 4429);
});

test('[R02] any frame gets a typed error or a clean close', async (t) => {
  const session = await registerPerson(at);
  const frame = fc.oneof(
    fc.string(),
    fc.json(),
    fc.record({
      type: fc.constantFrom('message.send', 'inbox.ack', 'receipt.read', 'history.get', 'ping'),
      id: fc.string(),
    }),
    fc.object().map((value) => ({ type: 'message.send', ...value })),
  );
  let one = await TestSocket.open(at, session);
  for (const sample of fc.sample(frame, 150)) {
    if (one.socket.readyState !== 1) {
      t.true([4400, 4429].includes(await one.waitForClose()));
      one = await TestSocket.open(at, session);
    }
    one.send(sample);
  }
  if (one.socket.readyState === 1) {
    one.send({ type: 'ping', id: 'end' });
    await until(() => one.closeCode !== undefined || one.framesOf('pong').some(({ id }) => id === 'end'));
  }
  for (const { code } of one.framesOf('error')) t.true(String(code) in ERROR_STATUS && code !== 'internal');
  one.socket.terminate();
});

test('[R02] the welcome names person, device, epoch and limits', async (t) => {
  const me = await registerPerson(at);
  const raw = await TestSocket.open(at, me);
  const [welcome, empty] = raw.frames;
  t.like(welcome, { type: 'connection.welcome', user_id: me.user.id, device_id: me.device.id, backlog: 0 });
  t.like(welcome, { heartbeat_sec: 30, idle_timeout_sec: 120, durability: 'fast' });
  t.is((welcome!.limits as { message_max_bytes: number }).message_max_bytes, env.config.MESSAGE_MAX_BYTES);
  t.is(typeof welcome!.epoch, 'string');
  t.like(empty, { type: 'inbox.empty' });
  raw.send({ type: 'ping', id: 'p1' });
  t.like(await raw.waitFor('pong'), { id: 'p1', server_version: welcome!.server_version });
  raw.socket.close();
  t.is(await raw.waitForClose(), 1005);
});
