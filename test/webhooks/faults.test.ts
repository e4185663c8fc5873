/** The webhook worker is killed at every step: nothing is lost, and a repeated request has the same id. */
import { type AddressInfo, createServer, type Socket } from 'node:net';
import test from 'ava';
import type { Spawned } from '../env/index.ts';
import { type Behaviour, Receiver } from './receiver.ts';
import { WebhookSystem } from './system.ts';

let system: WebhookSystem;
let webhook: Spawned;
test.before(async () => {
  system = await WebhookSystem.start({ PIN_TIMEOUT_MS: 1_000 }, ['events', 'history', 'fanout', 'ingest', 'api']);
  webhook = await system.env.spawn('webhook');
});
test.after.always(() => system?.stop());

const answerOk: Behaviour = (_, response) => void response.writeHead(200).end();

/** Locks a table, so that a worker waits before its next write to it. @returns the function that unlocks it */
async function lockTable(table: string): Promise<() => Promise<void>> {
  let release = (): void => {};
  const released = new Promise<void>((resolve) => {
    release = resolve;
  });
  let held = (): void => {};
  const holding = new Promise<void>((resolve) => {
    held = resolve;
  });
  const done = system.env.db.transaction(async ({ query }) => {
    await query(`lock table ${table} in access exclusive mode`);
    held();
    await released;
  });
  await holding;
  return () => {
    release();
    return done;
  };
}
/** Resolves once a worker waits for that lock. */
const waitForBlocked = (table: string): Promise<void> =>
  system.until(async () => {
    const [row] = await system.env.db.query<{ n: number }>(
      'select count(*) as n from pg_locks where relation = $1::regclass and not granted',
      [table],
    );
    return row!.n > 0;
  });

test.serial('[W04] a worker killed before it writes the deliveries of an event delivers the event once', async (t) => {
  const receiver = await Receiver.start(answerOk);
  const { conversation, say } = await system.startConversation();
  await system.createEndpoint({
    url: receiver.url,
    conversation_id: conversation,
    event_types: ['chat.message.created'],
  });
  const release = await lockTable('webhook_events');
  const id = await say();
  await waitForBlocked('webhook_events');
  await webhook.kill9();
  await release();
  await webhook.restart();
  const [got] = await receiver.waitForCount(1);
  t.is(got!.event.data.message_id, id);
  await system.env.settle();
  t.is(receiver.requests.length, 1);
});

test.serial(
  '[W04] a worker killed after dialling and before the request delivers the event after a restart',
  async (t) => {
    const { conversation, say } = await system.startConversation();
    const sockets: Socket[] = [];
    const deaf = createServer((socket) => void sockets.push(socket.pause()));
    await new Promise<void>((resolve) => deaf.listen(0, '127.0.0.1', resolve));
    const { port } = deaf.address() as AddressInfo;
    const url = `http://127.0.0.1:${port}/hook`;
    await system.createEndpoint({ url, conversation_id: conversation, event_types: ['chat.message.created'] });
    const id = await say();
    await system.until(async () => sockets.length > 0);
    await webhook.kill9();
    for (const socket of sockets) socket.destroy();
    await new Promise((resolve) => deaf.close(resolve));
    const receiver = await Receiver.start(answerOk, port);
    await system.expireClaims();
    await webhook.restart();
    const [got] = await receiver.waitForCount(1);
    t.is(got!.event.data.message_id, id);
  },
);

test.serial('[W04] a worker killed between request and reply delivers again with the same id and bytes', async (t) => {
  const { conversation, say } = await system.startConversation();
  const receiver = await Receiver.start(() => {});
  await system.createEndpoint({
    url: receiver.url,
    conversation_id: conversation,
    event_types: ['chat.message.created'],
  });
  await say();
  const [first] = await receiver.waitForCount(1);
  await webhook.kill9();
  receiver.respondWith(answerOk);
  await system.expireClaims();
  await webhook.restart();
  const [, again] = await receiver.waitForCount(2);
  t.is(again!.id, first!.id);
  t.is(again!.body, first!.body);
});

test.serial('[W04] a worker killed after 2xx and before recording it delivers again with the same id', async (t) => {
  const { conversation, say } = await system.startConversation();
  const receiver = await Receiver.start(answerOk);
  const endpoint = await system.createEndpoint({
    url: receiver.url,
    conversation_id: conversation,
    event_types: ['chat.message.created'],
  });
  const release = await lockTable('webhook_attempts');
  await say();
  await waitForBlocked('webhook_attempts');
  t.is(receiver.requests.length, 1);
  await webhook.kill9();
  await release();
  await system.expireClaims();
  await webhook.restart();
  const [one, two] = await receiver.waitForCount(2);
  t.is(one!.id, two!.id);
  await system.waitUntilNone(endpoint.id);
  t.is(receiver.requests.length, 2);
});

test.serial(
  '[W04] events that a killed worker did not acknowledge are recognised and not delivered again',
  async (t) => {
    const { conversation, say } = await system.startConversation();
    const receiver = await Receiver.start(answerOk);
    const endpoint = await system.createEndpoint({
      url: receiver.url,
      conversation_id: conversation,
      event_types: ['chat.message.created'],
    });
    for (let i = 0; i < 5; i++) await say();
    await receiver.waitForCount(5);
    await system.waitUntilNone(endpoint.id);
    await webhook.kill9();
    // The whole stream once more.
    const nc = await system.env.nats('admin');
    await nc.request('$JS.API.CONSUMER.RESET.EVENTS.webhook', JSON.stringify({ seq: 1 }));
    await nc.close();
    await webhook.restart();
    await system.env.settle();
    await system.waitUntilNone(endpoint.id);
    t.is(receiver.requests.length, 5);
  },
);

test.serial(
  '[W04] a waiting retry survives kill -9 of the worker, Postgres and the broker, and is sent when due',
  async (t) => {
    const { conversation, say } = await system.startConversation();
    let ok = false;
    const receiver = await Receiver.start((_, response) => void response.writeHead(ok ? 200 : 500).end());
    // After kill -9 the broker may give what was acknowledged last once more, and so what was before this endpoint.
    const event_types = ['chat.message.created' as const];
    await system.createEndpoint({ url: receiver.url, conversation_id: conversation, event_types, ordered: true });
    await say();
    await say();
    await receiver.waitForCount(1);
    await system.until(
      async () =>
        (await system.env.db.query('select 1 from webhook_deliveries where attempts = 1 and status = $1', ['pending']))
          .length > 0,
    );
    await webhook.kill9();
    await Promise.all([system.env.postgres.kill9(), system.env.broker.kill9()]);
    await Promise.all([system.env.postgres.restart(), system.env.broker.restart()]);
    ok = true;
    await webhook.restart();
    const got = await receiver.waitForCount(3);
    t.deepEqual(
      got.map(({ event }) => event.data.seq),
      [1, 1, 2],
    );
    t.is(got[0]!.id, got[1]!.id);
  },
);

test.serial('[W07] two workers deliver each event once and keep rate and order between them', async (t) => {
  const second = await system.env.spawn('webhook');
  const { conversation, say } = await system.startConversation();
  const [plain, lined] = [await Receiver.start(), await Receiver.start()];
  const where = { conversation_id: conversation, event_types: ['chat.message.created' as const] };
  await system.createEndpoint({ url: plain.url, ...where });
  await system.createEndpoint({ url: lined.url, ...where, ordered: true, max_per_sec: 50 });
  for (let i = 0; i < 60; i++) await say();
  await Promise.all([plain.waitForCount(60), lined.waitForCount(60)]);
  await system.env.settle();
  t.deepEqual([plain.requests.length, lined.requests.length], [60, 60]);
  t.deepEqual(
    lined.requests.map(({ event }) => event.data.seq),
    Array.from({ length: 60 }, (_, i) => i + 1),
  );
  await second.stop();
});

test.serial(
  '[W04] closing waits a moment for attempts, and an interrupted one is due at once and no failure',
  async (t) => {
    await webhook.stop();
    const patient = await system.env.spawn('webhook', { WEBHOOK_TIMEOUT_SEC: 60 });
    const { conversation, say } = await system.startConversation();
    const receiver = await Receiver.start(() => {});
    const endpoint = await system.createEndpoint({ url: receiver.url, conversation_id: conversation });
    await say();
    await receiver.waitForCount(1);
    t.deepEqual(await patient.stop(), { code: 0, signal: null }, 'nobody had to insist');
    const { data } = await system.api.ask('webhooks.deliveries.list', { token: system.admin, id: endpoint.id });
    t.like(data.items[0], { status: 'pending', attempts: 0 });
    t.is(data.items[0]!.next_at, undefined);
    receiver.respondWith(answerOk);
    await webhook.restart();
    await receiver.waitForCount(2);
  },
);
