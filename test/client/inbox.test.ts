import test from 'ava';
import { type Device, MemoryStore } from '../../client/index.ts';
import { until } from '../env/until.ts';
import { CONVERSATION, createDevice, messageFrame, type Peer, startFakeServer } from './fake-server.ts';

const acks = (peer: Peer): unknown[] => peer.commands.filter((c) => c.type === 'inbox.ack').map((c) => c.cursor);
function collect(device: Device): string[] {
  const got: string[] = [];
  device.on('message', ({ message, resync }) => void got.push(`${message.payload}${resync ? '*' : ''}`));
  return got;
}

test('the client acknowledges the highest handled cursor for many items at once', async (t) => {
  const server = await startFakeServer();
  const device = createDevice(server);
  const got = collect(device);
  await device.connect();
  server.peers[0]!.send(...Array.from({ length: 50 }, (_, i) => messageFrame(i + 1, 10 * (i + 1))), {
    type: 'inbox.empty',
    cursor: 500,
  });
  await device.next('empty');
  t.is(got.length, 50);
  await until(() => acks(server.peers[0]!).at(-1) === 500);
  t.true(acks(server.peers[0]!).length < 50);
  await device.close();
  await server.close();
});

test('an item is acknowledged after its handler has resolved, and delivered again in order after a failure', async (t) => {
  const server = await startFakeServer();
  const device = createDevice(server, { settings: { ack_every: 1 } });
  const tried: string[] = [];
  let gate: (() => void) | undefined;
  device.on('message', async ({ message }) => {
    tried.push(message.payload!);
    if (tried.length === 1) await new Promise<void>((resolve) => (gate = resolve));
    if (tried.length === 2) throw new Error('disk full');
  });
  await device.connect();
  const failed = device.next('error');
  server.peers[0]!.send(messageFrame(1, 1), messageFrame(2, 2), messageFrame(3, 3));
  await until(() => gate !== undefined);
  t.deepEqual(acks(server.peers[0]!), []);
  server.welcome = { ...server.welcome, cursor: 1 };
  gate!();
  t.is((await failed).code, 'handler_failed');
  await device.next('open');
  await until(() => acks(server.peers[0]!).length > 0);
  t.deepEqual(acks(server.peers[0]!), [1]);
  server.peers[1]!.send(messageFrame(2, 2), messageFrame(3, 3));
  await until(() => acks(server.peers[1]!).at(-1) === 3);
  t.deepEqual(tried, ['p1', 'p2', 'p2', 'p3']);
  await device.close();
  await server.close();
});

test('an item delivered again under its old cursor or a new one is handled once', async (t) => {
  const server = await startFakeServer();
  const device = createDevice(server);
  const got = collect(device);
  await device.connect();
  server.peers[0]!.send(
    messageFrame(1, 1),
    messageFrame(3, 2),
    messageFrame(1, 1),
    messageFrame(3, 3),
    messageFrame(2, 4),
    messageFrame(2, 5),
    messageFrame(4, 6),
  );
  await until(() => acks(server.peers[0]!).at(-1) === 6);
  t.deepEqual(got, ['p1', 'p3', 'p2', 'p4']);
  await device.close();
  await server.close();
});

test('a gap is announced and filled from history, once and in order, before anything later', async (t) => {
  const server = await startFakeServer();
  const device = createDevice(server);
  const got = collect(device);
  const item = (seq: number) => messageFrame(seq, 0).message;
  const asked: string[] = [];
  server.answerHttp = (_, path) => {
    asked.push(path);
    if (path.startsWith('/v1/conversations?'))
      return { data: { items: [{ id: CONVERSATION, last_seq: 5 }], next_cursor: null } };
    const after = Number(new URL(path, 'http://x').searchParams.get('after_seq'));
    const mine = { ...(item(4) as object), sender_device_id: device.id };
    return { data: { items: [item(1), item(2), item(3), mine, item(5)].slice(after), next_cursor: null } };
  };
  let told: unknown;
  device.on('gap', (gap) => {
    told = gap;
  });
  await device.connect();
  server.peers[0]!.send(
    messageFrame(1, 1),
    messageFrame(2, 2),
    { type: 'inbox.gap', from: 3, to: 7, reason: 'retention' },
    messageFrame(5, 8),
    messageFrame(6, 9),
  );
  await until(() => acks(server.peers[0]!).at(-1) === 9);
  t.like(told, { from: 3, to: 7 });
  t.deepEqual(got, ['p1', 'p2', 'p3*', 'p5*', 'p6']);
  t.true(asked.at(-1)!.includes('after_seq=2'));
  await device.close();
  await server.close();
});

test('a gap that cannot be filled yet is not acknowledged and comes again', async (t) => {
  const server = await startFakeServer();
  const device = createDevice(server);
  server.answerHttp = () => ({ status: 503, error: { code: 'unavailable', message: 'later' } });
  await device.connect();
  const gap = { type: 'inbox.gap', from: 1, to: 7, reason: 'reset' };
  server.peers[0]!.send(gap);
  await device.next('open');
  t.deepEqual(acks(server.peers[0]!), []);
  server.answerHttp = () => ({ data: { items: [], next_cursor: null } });
  server.peers[1]!.send(gap);
  await until(() => acks(server.peers[1]!).at(-1) === 7);
  await device.close();
  await server.close();
});

test('in a new epoch cursors start again and messages are handled once', async (t) => {
  const server = await startFakeServer();
  const store = new MemoryStore();
  const device = createDevice(server, { store });
  const got = collect(device);
  await device.connect();
  server.peers[0]!.send(messageFrame(1, 100), messageFrame(2, 101));
  await until(() => acks(server.peers[0]!).at(-1) === 101);
  await device.close();
  server.welcome = { ...server.welcome, epoch: 'b', cursor: 0 };
  const restarted = createDevice(server, { store });
  const later = collect(restarted);
  await restarted.connect();
  server.peers[1]!.send(messageFrame(2, 1), messageFrame(3, 2));
  await until(() => acks(server.peers[1]!).at(-1) === 2);
  t.deepEqual([got, later], [['p1', 'p2'], ['p3']]);
  await restarted.close();
  await server.close();
});

test('a handled item that is delivered again because its ack was lost is acknowledged again', async (t) => {
  const server = await startFakeServer();
  const device = createDevice(server);
  const got = collect(device);
  await device.connect();
  server.peers[0]!.send(messageFrame(1, 1), messageFrame(2, 2));
  await until(() => acks(server.peers[0]!).at(-1) === 2);
  server.peers[0]!.socket.terminate();
  await device.next('open');
  server.peers[1]!.send(messageFrame(1, 1), messageFrame(2, 2));
  await until(() => acks(server.peers[1]!).at(-1) === 2);
  t.deepEqual(got, ['p1', 'p2']);
  await device.close();
  await server.close();
});

test('a listener that keeps failing slows down the reconnects', async (t) => {
  const server = await startFakeServer();
  const device = createDevice(server, { settings: { backoff_base_ms: 1, backoff_cap_ms: 1_000 } });
  device.on('message', () => Promise.reject(new Error('never')));
  const waits: number[] = [];
  device.on('close', ({ retry_in_ms }) => waits.push(retry_in_ms));
  device.on('open', () => server.peers.at(-1)!.send(messageFrame(1, 1)));
  await device.connect();
  await until(() => waits.some((ms) => ms > 50));
  t.true(waits.length >= 5, 'a wait of over 50 ms needs six doublings of 1 ms');
  await device.close();
  await server.close();
});
