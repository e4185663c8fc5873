/** Workers killed at every step: nothing is lost, and what comes twice has the same id. */
import { type AddressInfo, createServer, type Socket } from 'node:net';
import { jetstreamManager } from '@nats-io/jetstream';
import test from 'ava';
import { readDirectBatch } from '../../nats/log-reader.ts';
import { EVENTS } from '../../nats/topology.ts';
import { decodeEvents, type Event } from '../../shared/pipeline/events.ts';
import type { Spawned } from '../env/index.ts';
import { type Behaviour, Receiver } from './receiver.ts';
import { System } from './system.ts';

let system: System;
let webhook: Spawned;
let events: Spawned;
test.before(async () => {
  system = await System.start({ PIN_TIMEOUT_MS: 1_000 }, ['history', 'fanout', 'ingest', 'api']);
  [events, webhook] = await Promise.all([system.env.spawn('events'), system.env.spawn('webhook')]);
});
test.after.always(() => system?.stop());

const well: Behaviour = (_, response) => void response.writeHead(200).end();

/** Everything in EVENTS, in its order. */
async function told(): Promise<Event[]> {
  const nc = await system.env.nats('admin');
  const manager = await jetstreamManager(nc);
  const out: Event[] = [];
  for (let seq = 1; ; ) {
    let got = 0;
    for await (const message of readDirectBatch(manager, EVENTS, { seq, batch: 500 })) {
      out.push(...decodeEvents(message.data));
      seq = message.seq + 1;
      got++;
    }
    if (!got) break;
  }
  await nc.close();
  return out;
}

/** Holds a table, so that a worker stands still before its next write to it; returns what lets it go. */
async function hold(table: string): Promise<() => Promise<void>> {
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
/** Resolves once somebody waits for that lock. */
const awaited = (table: string): Promise<void> =>
  system.until(async () => {
    const [row] = await system.env.db.query<{ n: number }>(
      'select count(*) as n from pg_locks where relation = $1::regclass and not granted',
      [table],
    );
    return row!.n > 0;
  });

test.serial(
  '[W02] kill -9 of the events worker under load, again and again: each message is published once and in order',
  async (t) => {
    const pairs = await Promise.all(Array.from({ length: 4 }, () => system.pair()));
    const sent = new Map<string, string[]>(pairs.map(({ conversation }) => [conversation, []]));
    let going = true;
    const load = pairs.map(async ({ conversation, say }) => {
      while (going) sent.get(conversation)!.push(await say());
    });
    for (let i = 0; i < 3; i++) {
      const before = [...sent.values()].flat().length;
      await system.until(async () => [...sent.values()].flat().length > before + 40);
      await events.kill9();
      await events.restart();
    }
    going = false;
    await Promise.all(load);
    await system.env.settle();
    const all = await told();
    t.is(new Set(all.map(({ id }) => id)).size, all.length, 'no event twice');
    for (const [conversation, ids] of sent) {
      const created = all.filter((one) => one.type === 'chat.message.created' && one.conversation_id === conversation);
      t.deepEqual(
        created.map(({ data }) => (data as { message_id: string }).message_id),
        ids,
      );
    }
  },
);

test.serial('[W02] after kill -9 of the broker LOG and EVENTS agree', async (t) => {
  const { conversation, say } = await system.pair();
  const ids = [await say()];
  await system.env.broker.kill9();
  await system.env.broker.restart();
  ids.push(await say(), await say());
  await system.env.settle();
  const created = (await told()).filter(
    (one) => one.type === 'chat.message.created' && one.conversation_id === conversation,
  );
  t.deepEqual(
    created.map(({ data }) => (data as { message_id: string }).message_id),
    ids,
  );
});

test.serial('[W04] a worker killed before it writes the deliveries of an event delivers the event once', async (t) => {
  const receiver = await Receiver.start(well);
  const { conversation, say } = await system.pair();
  await system.endpoint({ url: receiver.url, conversation_id: conversation, event_types: ['chat.message.created'] });
  const release = await hold('webhook_events');
  const id = await say();
  await awaited('webhook_events');
  await webhook.kill9();
  await release();
  await webhook.restart();
  const [got] = await receiver.count(1);
  t.is(got!.event.data.message_id, id);
  await system.env.settle();
  t.is(receiver.got.length, 1);
});

test.serial(
  '[W04] a worker killed after dialling and before the request delivers the event after a restart',
  async (t) => {
    const { conversation, say } = await system.pair();
    const sockets: Socket[] = [];
    const deaf = createServer((socket) => void sockets.push(socket.pause()));
    await new Promise<void>((resolve) => deaf.listen(0, '127.0.0.1', resolve));
    const { port } = deaf.address() as AddressInfo;
    const url = `http://127.0.0.1:${port}/hook`;
    await system.endpoint({ url, conversation_id: conversation, event_types: ['chat.message.created'] });
    const id = await say();
    await system.until(async () => sockets.length > 0);
    await webhook.kill9();
    for (const socket of sockets) socket.destroy();
    await new Promise((resolve) => deaf.close(resolve));
    const receiver = await Receiver.start(well, port);
    await system.age();
    await webhook.restart();
    const [got] = await receiver.count(1);
    t.is(got!.event.data.message_id, id);
  },
);

test.serial('[W04] a worker killed between request and reply delivers again with the same id and bytes', async (t) => {
  const { conversation, say } = await system.pair();
  const receiver = await Receiver.start(() => {});
  await system.endpoint({ url: receiver.url, conversation_id: conversation, event_types: ['chat.message.created'] });
  await say();
  const [first] = await receiver.count(1);
  await webhook.kill9();
  receiver.behave(well);
  await system.age();
  await webhook.restart();
  const [, again] = await receiver.count(2);
  t.is(again!.id, first!.id);
  t.is(again!.body, first!.body);
});

test.serial('[W04] a worker killed after 2xx and before recording it delivers again with the same id', async (t) => {
  const { conversation, say } = await system.pair();
  const receiver = await Receiver.start(well);
  const endpoint = await system.endpoint({
    url: receiver.url,
    conversation_id: conversation,
    event_types: ['chat.message.created'],
  });
  const release = await hold('webhook_attempts');
  await say();
  await awaited('webhook_attempts');
  t.is(receiver.got.length, 1);
  await webhook.kill9();
  await release();
  await system.age();
  await webhook.restart();
  const [one, two] = await receiver.count(2);
  t.is(one!.id, two!.id);
  await system.none(endpoint.id);
  t.is(receiver.got.length, 2);
});

test.serial(
  '[W04] events that a killed worker did not acknowledge are recognised and not delivered again',
  async (t) => {
    const { conversation, say } = await system.pair();
    const receiver = await Receiver.start(well);
    const endpoint = await system.endpoint({
      url: receiver.url,
      conversation_id: conversation,
      event_types: ['chat.message.created'],
    });
    for (let i = 0; i < 5; i++) await say();
    await receiver.count(5);
    await system.none(endpoint.id);
    await webhook.kill9();
    // The whole stream once more.
    const nc = await system.env.nats('admin');
    await nc.request('$JS.API.CONSUMER.RESET.EVENTS.webhook', JSON.stringify({ seq: 1 }));
    await nc.close();
    await webhook.restart();
    await system.env.settle();
    await system.none(endpoint.id);
    t.is(receiver.got.length, 5);
  },
);

test.serial(
  '[W04] a waiting retry survives kill -9 of the worker, Postgres and the broker, and is sent when due',
  async (t) => {
    const { conversation, say } = await system.pair();
    let ok = false;
    const receiver = await Receiver.start((_, response) => void response.writeHead(ok ? 200 : 500).end());
    // After kill -9 the broker may give what was acknowledged last once more, and so what was before this endpoint.
    const event_types = ['chat.message.created' as const];
    await system.endpoint({ url: receiver.url, conversation_id: conversation, event_types, ordered: true });
    await say();
    await say();
    await receiver.count(1);
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
    const got = await receiver.count(3);
    t.deepEqual(
      got.map(({ event }) => event.data.seq),
      [1, 1, 2],
    );
    t.is(got[0]!.id, got[1]!.id);
  },
);

test.serial('[W07] two workers deliver each event once and keep rate and order between them', async (t) => {
  const second = await system.env.spawn('webhook');
  const { conversation, say } = await system.pair();
  const [plain, lined] = [await Receiver.start(), await Receiver.start()];
  const where = { conversation_id: conversation, event_types: ['chat.message.created' as const] };
  await system.endpoint({ url: plain.url, ...where });
  await system.endpoint({ url: lined.url, ...where, ordered: true, max_per_sec: 50 });
  for (let i = 0; i < 60; i++) await say();
  await Promise.all([plain.count(60), lined.count(60)]);
  await system.env.settle();
  t.deepEqual([plain.got.length, lined.got.length], [60, 60]);
  t.deepEqual(
    lined.got.map(({ event }) => event.data.seq),
    Array.from({ length: 60 }, (_, i) => i + 1),
  );
  await second.stop();
});

test.serial(
  '[W04] closing waits a moment for attempts, and an interrupted one is due at once and no failure',
  async (t) => {
    await webhook.stop();
    const patient = await system.env.spawn('webhook', { WEBHOOK_TIMEOUT_SEC: 60 });
    const { conversation, say } = await system.pair();
    const receiver = await Receiver.start(() => {});
    const endpoint = await system.endpoint({ url: receiver.url, conversation_id: conversation });
    await say();
    await receiver.count(1);
    t.deepEqual(await patient.stop(), { code: 0, signal: null }, 'nobody had to insist');
    const { data } = await system.api.ask('webhooks.deliveries.list', { token: system.admin, id: endpoint.id });
    t.like(data.items[0], { status: 'pending', attempts: 0 });
    t.is(data.items[0]!.next_at, undefined);
    receiver.behave(well);
    await webhook.restart();
    await receiver.count(2);
  },
);
