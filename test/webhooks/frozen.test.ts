/** Workers that are frozen until others have taken over, and then come back. */
import { readFileSync } from 'node:fs';
import { jetstreamManager } from '@nats-io/jetstream';
import test from 'ava';
import { readDirectBatch } from '../../nats/log-reader.ts';
import { EVENTS } from '../../nats/topology.ts';
import { decodeEvents, type Event } from '../../shared/pipeline/events.ts';
import type { Spawned } from '../env/index.ts';
import { Receiver } from './receiver.ts';
import { System } from './system.ts';

let system: System;
let events: Spawned;
test.before(async () => {
  system = await System.start({ PIN_TIMEOUT_MS: 1_000 }, ['history', 'fanout', 'ingest', 'api']);
  events = await system.env.spawn('events');
});
test.after.always(() => system?.stop());

/** Frozen between two transactions: within one it would keep its locks, and all others waiting, as long as it sleeps. */
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

test.serial('[W02] an events worker that was frozen and resumes publishes nothing twice or out of order', async (t) => {
  const { conversation, say } = await system.pair();
  const manager = await jetstreamManager(await system.env.nats('admin'));
  const told = async (): Promise<Event[]> => {
    const out: Event[] = [];
    for (let seq = 1, got = 1; got > 0; ) {
      got = 0;
      for await (const message of readDirectBatch(manager, EVENTS, { seq, batch: 500 })) {
        out.push(...decodeEvents(message.data).filter((one) => one.conversation_id === conversation));
        seq = message.seq + 1;
        got++;
      }
    }
    return out;
  };
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
    const { conversation, say } = await system.pair();
    const held = Promise.withResolvers<void>();
    const receiver = await Receiver.start(async (_, response) => {
      if (receiver.got.length === 1) await held.promise;
      response.writeHead(200).end();
    });
    const where = { conversation_id: conversation, event_types: ['chat.message.created' as const], ordered: true };
    const endpoint = await system.endpoint({ url: receiver.url, ...where });
    // Its attempt is over while it is frozen.
    const first = await system.env.spawn('webhook', { WEBHOOK_TIMEOUT_SEC: 5 });
    for (let i = 0; i < 3; i++) await say();
    await receiver.count(1);
    await freeze(first);
    const second = await system.env.spawn('webhook');
    // The claim ends; the second one makes the delivery again, and the rest.
    await receiver.count(4);
    await system.none(endpoint.id);
    first.signal('SIGCONT');
    held.resolve();
    // What it held has ended for it, one way or the other.
    await system.until(async () => {
      const { data } = await system.api.ask('webhooks.attempts.list', { token: system.admin, id: endpoint.id });
      return data.items.length === 4;
    });
    await second.stop();
    for (let i = 0; i < 3; i++) await say();
    await receiver.count(7);
    await system.none(endpoint.id);
    t.deepEqual(
      receiver.got.map(({ event }) => event.data.seq),
      [1, 1, 2, 3, 4, 5, 6],
    );
    const { data } = await system.api.ask('webhooks.deliveries.list', { token: system.admin, id: endpoint.id });
    t.true(data.items.every(({ status }) => status === 'delivered'));
    t.is(data.items.length, 6);
  },
);
