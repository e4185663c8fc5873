/** What clients ask for, good and bad. */
import test from 'ava';
import fc from 'fast-check';
import { ERROR_STATUS } from '../../shared/contract/errors.ts';
import { uuid7 } from '../../shared/ids.ts';
import { type Addresses, type Env, startEnv } from '../env/index.ts';
import { account, another, Phone, Raw } from '../env/people.ts';
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

const raw = async (): Promise<Raw> => await Raw.open(at, await account(at));

test('[M01] [M07] a message is queued, sent, delivered and read, and the ack echoes the id', async (t) => {
  const [mine, theirs] = [await account(at), await account(at)];
  const alice = await Raw.open(at, mine);
  const bob = await new Phone(theirs, at.edgeUrl).up();
  const send = { type: 'message.send', id: 'a"1', to: { user_id: bob.user }, client_message_id: 'c1', payload: 'é"\\' };
  alice.say(send);
  const ack = await alice.until('ack');
  t.like(ack, { id: 'a"1', seq: 1, status: 'queued' });
  await until(() => bob.payloads.length === 1);
  t.deepEqual(bob.payloads, ['é"\\']);
  const { message_id, conversation_id } = ack;
  await alice.until('message.status', 2);
  const statuses = alice.of('message.status');
  const sent = statuses.find(({ status }) => status === 'sent');
  t.like(sent, { message_id, conversation_id, seq: 1, client_message_id: 'c1' });
  const delivered = { status: 'delivered', message_id, conversation_id, seq: 1, user_id: bob.user };
  t.like(
    statuses.find(({ status }) => status === 'delivered'),
    { ...delivered, device_id: theirs.device.id },
  );
  await bob.device.read(String(conversation_id), 1);
  t.like(await alice.until('message.status', 3), { status: 'read', conversation_id, seq: 1, user_id: bob.user });

  alice.say({ ...send, id: 'again' });
  t.like(await alice.until('ack', 2), { id: 'again', message_id, seq: 1 });
  alice.socket.close();
  await bob.device.close();
});

test('[M01] a message is addressed by number, by conversation or with one envelope per device', async (t) => {
  const [mine, theirs] = [await account(at), await account(at)];
  const alice = await Raw.open(at, mine);
  const bob = await new Phone(theirs, at.edgeUrl).up();
  const second = await new Phone(await another(theirs), at.edgeUrl).up();
  alice.say({
    type: 'message.send',
    to: { number: theirs.user.number },
    client_message_id: 'n1',
    payload: 'by number',
  });
  const { conversation_id } = await alice.until('ack');
  const envelopes = [bob, second].map(({ device }, i) => ({ device_id: device.id, payload: `for ${i}` }));
  alice.say({ type: 'message.send', conversation_id, client_message_id: 'n2', envelopes });
  await until(() => bob.payloads.length === 2 && second.payloads.length === 2);
  t.deepEqual(bob.payloads, ['by number', 'for 0']);
  t.deepEqual(second.payloads, ['by number', 'for 1']);
  alice.socket.close();
  await Promise.all([bob.device.close(), second.device.close()]);
});

test('[H01] history.get pages history over the socket', async (t) => {
  const alice = await raw();
  const bob = await account(at);
  for (let i = 1; i <= 3; i++)
    alice.say({ type: 'message.send', to: { user_id: bob.user.id }, client_message_id: `h${i}`, payload: `p${i}` });
  const { conversation_id } = await alice.until('ack', 3);
  await env.settle();
  alice.say({ type: 'history.get', id: 'h', conversation_id, after_seq: 1, limit: 1 });
  const history = await alice.until('history');
  t.like(history, { id: 'h', more: true });
  t.is((history.messages as { payload: string }[])[0]!.payload, 'p2');
  alice.socket.close();
});

test('[A07] a stranger gets the same answer about an existing conversation as about a missing one', async (t) => {
  const alice = await raw();
  const bob = await account(at);
  alice.say({ type: 'message.send', to: { user_id: bob.user.id }, client_message_id: 'one', payload: 'x' });
  const { conversation_id } = await alice.until('ack');
  await env.settle();
  const stranger = await raw();
  let errors = 0;
  for (const frame of [
    { type: 'history.get' },
    { type: 'receipt.read', seq: 1 },
    { type: 'message.send', client_message_id: 'one', payload: 'x' },
  ]) {
    stranger.say({ ...frame, id: 'q', conversation_id });
    const refused = await stranger.until('error', ++errors);
    t.is(refused.code, 'not_found', frame.type);
    stranger.say({ ...frame, id: 'q', conversation_id: uuid7() });
    t.deepEqual(await stranger.until('error', ++errors), refused, frame.type);
  }
  for (const one of [alice, stranger]) one.socket.close();
});

test('[M07] [R02] a refused message gets an error and a rejected status with the reason', async (t) => {
  const alice = await raw();
  const to = { user_id: (await account(at)).user.id };
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
    alice.say({ type: 'message.send', id: `i${i}`, client_message_id, ...frame });
    t.like(await alice.until('error', i + 1), { id: `i${i}`, client_message_id, code }, JSON.stringify(frame));
    t.like(await alice.until('message.status', i + 1), { status: 'rejected', reason: code, client_message_id });
  }
  alice.say({ type: 'message.send', id: 'ok', client_message_id: 'ok', to, payload: '🦭'.repeat(250) });
  t.like(await alice.until('ack'), { id: 'ok' });
  alice.socket.close();
});

test('[R03] two malformed frames get errors, the third closes with 4400; unknown types and fields only get errors', async (t) => {
  const one = await raw();
  for (const frame of ['{"type":"dance"}', '{"type":"ping","x":1}', '{"type":"inbox.ack"}']) one.say(frame);
  await one.until('error', 3);
  t.true(one.of('error').every(({ code }) => code === 'invalid_request'));
  for (const frame of ['{', '[]']) one.say(frame);
  await one.until('error', 5);
  t.is(one.code, undefined);
  one.socket.send(Buffer.from('{"type":"ping"}'), { binary: true });
  t.is(await one.closed(), 4400);
});

test('[R03] an oversized frame or invalid UTF-8 closes that socket and no other', async (t) => {
  const [large, bad, fine] = [await raw(), await raw(), await raw()];
  large.say('x'.repeat(5_000));
  t.true([1006, 1009].includes(await large.closed()));
  bad.socket.send(Buffer.from([0x7b, 0xff, 0xfe]), { binary: false });
  t.true([1006, 1007].includes(await bad.closed()));
  fine.say({ type: 'ping' });
  await fine.until('pong');
  fine.socket.close();
});

test('[R03] commands over the limit are refused with a wait, many more close the socket, and acks are free', async (t) => {
  const one = await raw();
  for (let i = 0; i < 200; i++) one.say({ type: 'inbox.ack', cursor: i });
  for (let i = 0; i < 41; i++) one.say({ type: 'dance', id: String(i) });
  const error = await one.until('error', 41);
  t.like(error, { id: '40', code: 'rate_limited' });
  t.true(Number(error.retry_after_ms) > 0 && Number(error.retry_after_ms) <= 86_400_000);
  one.say({ type: 'ping' });
  await one.until('pong');
  for (let i = 0; i < 80; i++) one.say({ type: 'dance' });
  t.is(await one.closed(), 4429);
});

test('[R02] any frame gets a typed error or a clean close', async (t) => {
  const session = await account(at);
  const frame = fc.oneof(
    fc.string(),
    fc.json(),
    fc.record({
      type: fc.constantFrom('message.send', 'inbox.ack', 'receipt.read', 'history.get', 'ping'),
      id: fc.string(),
    }),
    fc.object().map((value) => ({ type: 'message.send', ...value })),
  );
  let one = await Raw.open(at, session);
  for (const sample of fc.sample(frame, 150)) {
    if (one.socket.readyState !== 1) {
      t.true([4400, 4429].includes(await one.closed()));
      one = await Raw.open(at, session);
    }
    one.say(sample);
  }
  if (one.socket.readyState === 1) {
    one.say({ type: 'ping', id: 'end' });
    await until(() => one.code !== undefined || one.of('pong').some(({ id }) => id === 'end'));
  }
  for (const { code } of one.of('error')) t.true(String(code) in ERROR_STATUS && code !== 'internal');
  one.socket.terminate();
});
