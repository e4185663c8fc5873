/** The events worker is killed, and workers are frozen until others have taken over and then resume. */
import { readFileSync } from 'node:fs';
import test from 'ava';
import type { Event } from '../../shared/pipeline/events.ts';
import type { Spawned } from '../env/index.ts';
import { Receiver } from './receiver.ts';
import { readEvents, WebhookSystem } from './system.ts';

let system: WebhookSystem;
let events: Spawned;
test.before(async () => {
  system = await WebhookSystem.start({ PIN_TIMEOUT_MS: 1_000 }, ['history', 'fanout', 'ingest', 'api']);
  events = await system.env.spawn('events');
});
test.after.always(() => system?.stop());

/** Freezes a process between two transactions: within one it would keep its locks and block all others. */
async function freeze(one: Spawned): Promise<void> {
  const state = (): string => readFileSync(`/proc/${one.pid}/stat`, 'utf8').replace(/^.*\) /, '')[0]!;
  await system.until(async () => {
    one.signal('SIGSTOP');
    await system.until(async () => state() === 'T');
    const locks = await system.env.db.query(
      "select 1 from pg_locks join pg_class c on c.oid = relation where starts_with(relname, 'webhook_') and pid <> pg_backend_pid()",
    );
    if (locks.length) one.signal('SIGCONT');
    return locks.length === 0;
  });
}

const numbers = (n: number): number[] => Array.from({ length: n }, (_, i) => i + 1);

test.serial(
  '[W02] kill -9 of the events worker under load, again and again: each message is published once and in order',
  async (t) => {
    const pairs = await Promise.all(Array.from({ length: 4 }, () => system.startConversation()));
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
    const all = await readEvents(system.env);
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
  const { conversation, say } = await system.startConversation();
  const ids = [await say()];
  await system.env.broker.kill9();
  await system.env.broker.restart();
  ids.push(await say(), await say());
  await system.env.settle();
  const created = (await readEvents(system.env)).filter(
    (one) => one.type === 'chat.message.created' && one.conversation_id === conversation,
  );
  t.deepEqual(
    created.map(({ data }) => (data as { message_id: string }).message_id),
    ids,
  );
});

test.serial('[W02] an events worker that was frozen and resumes publishes nothing twice or out of order', async (t) => {
  const { conversation, say } = await system.startConversation();
  const told = async (): Promise<Event[]> =>
    (await readEvents(system.env)).filter((one) => one.conversation_id === conversation);
  const seqs = async (): Promise<unknown[]> =>
    (await told()).flatMap((one) => ('seq' in one.data && one.type === 'chat.message.created' ? [one.data.seq] : []));
  await say();
  await system.until(async () => (await seqs()).length === 1);
  events.signal('SIGSTOP');
  const second = await system.env.spawn('events');
  for (let i = 0; i < 5; i++) await say();
  await system.until(async () => (await seqs()).length === 6);
  events.signal('SIGCONT');
  for (let i = 0; i < 5; i++) await say();
  await system.env.settle();
  await second.stop();
  for (let i = 0; i < 5; i++) await say();
  await system.until(async () => (await seqs()).length >= 16);
  await system.env.settle();
  t.deepEqual(await seqs(), numbers(16));
  const all = await told();
  t.is(new Set(all.map(({ id }) => id)).size, all.length);
});

test.serial(
  '[W04] [W07] a webhook worker that was frozen during a delivery and resumes overwrites nothing of its successor',
  async (t) => {
    const { conversation, say } = await system.startConversation();
    const held = Promise.withResolvers<void>();
    const receiver = await Receiver.start(async (_, response) => {
      if (receiver.requests.length === 1) await held.promise;
      response.writeHead(200).end();
    });
    const where = { conversation_id: conversation, event_types: ['chat.message.created' as const], ordered: true };
    const endpoint = await system.createEndpoint({ url: receiver.url, ...where });
    // Its attempt is over while it is frozen.
    const first = await system.env.spawn('webhook', { WEBHOOK_TIMEOUT_SEC: 5 });
    for (let i = 0; i < 3; i++) await say();
    await receiver.waitForCount(1);
    await freeze(first);
    const second = await system.env.spawn('webhook');
    // The claim ends; the second one makes the delivery again, and the rest.
    await receiver.waitForCount(4);
    await system.waitUntilNone(endpoint.id);
    first.signal('SIGCONT');
    held.resolve();
    // What it held has ended for it, one way or the other.
    await system.until(async () => {
      const { data } = await system.api.ask('webhooks.attempts.list', { token: system.admin, id: endpoint.id });
      return data.items.length === 4;
    });
    await second.stop();
    for (let i = 0; i < 3; i++) await say();
    await receiver.waitForCount(7);
    await system.waitUntilNone(endpoint.id);
    t.deepEqual(
      receiver.requests.map(({ event }) => event.data.seq),
      [1, 1, 2, 3, 4, 5, 6],
    );
    const { data } = await system.api.ask('webhooks.deliveries.list', { token: system.admin, id: endpoint.id });
    t.true(data.items.every(({ status }) => status === 'delivered'));
    t.is(data.items.length, 6);
  },
);
