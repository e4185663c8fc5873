import test from 'ava';
import { MemoryStore } from '../../client/index.ts';
import { webTransport } from '../../client/transports/web.ts';
import { until } from '../env/until.ts';
import { CONVERSATION, createDevice, numberSends, startFakeServer } from './fake-server.ts';

const sent = (peer: { commands: Record<string, unknown>[] }): unknown[] =>
  peer.commands.map((c) => c.payload).filter(Boolean);

for (const [name, transport] of [
  ['global WebSocket', webTransport()],
  ['ws package', undefined],
] as const) {
  test(`sends wait for a connection and survive its loss, in order and under one id (${name})`, async (t) => {
    const server = await startFakeServer();
    const device = createDevice(server, transport && { transport });
    server.answerHttp = () => ({ data: { ticket: 'T' } });
    const early = device.send({ conversation_id: CONVERSATION, payload: 'p1' });
    await device.connect();
    const rest = ['p2', 'p3'].map((payload) => device.send({ conversation_id: CONVERSATION, payload }));
    await until(() => sent(server.peers[0]!).length === 3);
    server.answerCommand = numberSends();
    server.peers[0]!.socket.terminate();
    t.deepEqual(
      (await Promise.all([early, ...rest])).map((s) => s.seq),
      [1, 2, 3],
    );
    t.deepEqual(sent(server.peers[1]!), ['p1', 'p2', 'p3']);
    t.deepEqual(
      server.peers[0]!.commands,
      server.peers[1]!.commands.filter((c) => c.type === 'message.send'),
    );
    t.is(device.pending, 0);
    await device.close();
    await server.close();
  });
}

test('the outbox waits and retries after rate_limited, and other refusals reach the caller', async (t) => {
  const server = await startFakeServer();
  const device = createDevice(server);
  const number = numberSends();
  let refusals = 0;
  server.answerCommand = (peer, command) => {
    if (command.payload === 'full') peer.send({ type: 'error', id: command.id, code: 'queue_full', message: 'full' });
    else if (refusals++ < 3)
      peer.send({ type: 'error', id: command.id, code: 'rate_limited', message: 'slow', retry_after_ms: 30 });
    else number(peer, command);
  };
  await device.connect();
  const all = ['a', 'b', 'c'].map((payload) => device.send({ conversation_id: CONVERSATION, payload }));
  t.deepEqual(
    (await Promise.all(all)).map((s) => s.seq),
    [1, 2, 3],
  );
  t.deepEqual(sent(server.peers[0]!), ['a', 'b', 'c', 'a', 'b', 'c']);
  await t.throwsAsync(device.send({ conversation_id: CONVERSATION, payload: 'full' }), { code: 'queue_full' });
  await device.close();
  await server.close();
});

test('the outbox and the messages in flight are bounded', async (t) => {
  const server = await startFakeServer();
  const device = createDevice(server, { settings: { outbox_max: 3, in_flight: 1 } });
  await device.connect();
  const all = ['a', 'b', 'c'].map((payload) => device.send({ conversation_id: CONVERSATION, payload }));
  await t.throwsAsync(device.send({ conversation_id: CONVERSATION, payload: 'd' }), { code: 'outbox_full' });
  await until(() => sent(server.peers[0]!).length === 1);
  server.answerCommand = numberSends();
  server.answerCommand(server.peers[0]!, server.peers[0]!.commands[0]!);
  t.deepEqual(
    (await Promise.all(all)).map((s) => s.seq),
    [1, 2, 3],
  );
  await device.close();
  await server.close();
});

test('a send whose answer was lost on a living connection is sent again', async (t) => {
  const server = await startFakeServer();
  const device = createDevice(server, { settings: { silence_ms: 500 } });
  const number = numberSends();
  let asked = 0;
  server.answerCommand = (peer, command) => {
    // Until the same connection is asked twice.
    asked = sent(peer).length;
    if (command.type === 'message.send' && asked < 2) return;
    if (command.type === 'ping') peer.send({ type: 'pong' });
    else number(peer, command);
  };
  await device.connect();
  t.is((await device.send({ conversation_id: CONVERSATION, payload: 'p' })).seq, 1);
  t.true(asked >= 2);
  await device.close();
  await server.close();
});

test('with a store a restarted device sends what the last process could not', async (t) => {
  const server = await startFakeServer();
  const store = new MemoryStore();
  const first = createDevice(server, { store });
  await first.connect();
  const waiting = t.throwsAsync(first.send({ conversation_id: CONVERSATION, payload: 'kept' }), { code: 'closed' });
  await until(() => sent(server.peers[0]!).length === 1);
  await first.close();
  await waiting;
  server.answerCommand = numberSends();
  const second = createDevice(server, { store });
  await second.connect();
  await until(() => second.pending === 0);
  t.deepEqual(
    server.peers[1]!.commands.filter((c) => c.type === 'message.send'),
    server.peers[0]!.commands,
  );
  t.deepEqual((await store.load()).outbox, []);
  await second.close();
  await server.close();
});
