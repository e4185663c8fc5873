/** What happens to a partition when its worker or the broker dies under it. */
import { jetstreamManager } from '@nats-io/jetstream';
import test from 'ava';
import { Gateway } from '../../nats/gateway.ts';
import { inboxStream, subject } from '../../nats/topology.ts';
import { uuid7 } from '../../shared/ids.ts';
import { type Env, type Spawned, startEnv } from '../env/index.ts';
import { insertPerson } from '../env/people.ts';
import { directMessage, loseInboxes, readInbox } from './inbox.ts';
import { type LoadResult, loadOfMessages, runLoad } from './load.ts';

let env: Env;
let gateway: Gateway;
let workers: Spawned[];

test.before(async () => {
  env = await startEnv({ PIN_TIMEOUT_MS: 1_000 });
  workers = await Promise.all([env.spawn(['ingest', 'fanout', 'history']), env.spawn(['ingest', 'fanout', 'history'])]);
  gateway = new Gateway(await env.nats('edge'), env.config);
});
test.after.always(async () => {
  gateway?.close();
  await env?.stop();
});

async function checkDelivered(t: import('ava').ExecutionContext, { answers, to }: LoadResult): Promise<void> {
  const seqs = answers.map(({ seq }) => seq).sort((x, y) => x - y);
  t.deepEqual(
    seqs,
    Array.from(answers, (_, i) => i + 1),
    'contiguous, each once',
  );
  await env.settle();
  const nc = await env.nats('admin');
  const inbox = await readInbox(nc, env, to);
  const told = new Map(answers.map(({ seq, message_id }) => [seq, message_id] as const).sort(([x], [y]) => x - y));
  t.deepEqual(
    new Set(inbox.map(({ frame }) => frame.message!.id)),
    new Set(told.values()),
    'everything queued is in the inbox',
  );
  const rows = await env.db.query<{ seq: number; id: string }>(
    'select seq, id from messages where conversation_id = $1 order by seq',
    [answers[0]!.conversation_id],
  );
  t.deepEqual(new Map(rows.map(({ seq, id }) => [seq, id])), told, 'and in history');
  await nc.close();
}

test.serial(
  '[M01] [M02] [M03] kill -9 of the workers under load: the others take over, nothing lost or doubled',
  async (t) => {
    for (const worker of workers) {
      const result = await runLoad(
        env,
        gateway,
        async () => {
          await worker.kill9();
          await worker.restart();
        },
        loadOfMessages(600),
      );
      await checkDelivered(t, result);
    }
  },
);

test.serial('[M01] a worker that was stopped during its take-over writes nothing afterwards', async (t) => {
  for (const worker of workers) {
    const result = await runLoad(
      env,
      gateway,
      async () => {
        worker.signal('SIGSTOP');
        // Answered by whoever took over, where the sleeper was the one.
        await Promise.all(
          Array.from({ length: 8 }, async () =>
            gateway.call(directMessage(await insertPerson(env), await insertPerson(env)), '"x"'),
          ),
        );
        worker.signal('SIGCONT');
      },
      loadOfMessages(600),
    );
    await checkDelivered(t, result);
  }
});

test.serial('[M01] [M06] after kill -9 of the broker under load unanswered commands are sent again', async (t) => {
  const result = await runLoad(
    env,
    gateway,
    async () => {
      await env.broker.kill9();
      await env.broker.restart();
    },
    loadOfMessages(600),
  );
  await checkDelivered(t, result);
});

test.serial('[M06] a deleted inbox shard is created again, with cursors above all earlier ones', async (t) => {
  const [a, b] = [await insertPerson(env), await insertPerson(env)];
  const nc = await env.nats('admin');
  await gateway.call(directMessage(a, b), '"before"');
  await env.settle();
  const [before] = await readInbox(nc, env, b.user);
  const manager = await jetstreamManager(nc);
  for (let shard = 0; shard < env.config.INBOX_SHARDS; shard++) await manager.streams.delete(inboxStream(shard));
  await gateway.call(directMessage(a, b, { client_message_id: uuid7() }), '"after"');
  await env.settle();
  const inbox = await readInbox(nc, env, b.user);
  // Each perhaps twice, which devices know by its id.
  const again = inbox.map(({ frame }) => frame.message!.payload);
  t.deepEqual(new Set(again), new Set(['before', 'after']), 'written again from the log');
  t.is(again.at(-1), 'after');
  t.true(inbox.every(({ cursor }) => cursor > before!.cursor));
});

test.serial(
  '[M06] items that a power cut removed from the inboxes are written again, even without new messages',
  async (t) => {
    const [a, b] = [await insertPerson(env), await insertPerson(env)];
    await gateway.call(directMessage(a, b), '"kept in the log"');
    await env.settle();
    await loseInboxes(env);
    const nc = await env.nats('admin');
    const all = subject.live(b.user, env.config.INBOX_SHARDS).replace(/>$/, 'all');
    const live = nc.subscribe(all, { max: 1 });
    if (!(await readInbox(nc, env, b.user)).length) for await (const _ of live) break;
    await env.settle();
    // Perhaps twice, which devices know by its id.
    const again = await readInbox(nc, env, b.user);
    t.is(new Set(again.map(({ frame }) => frame.message!.id)).size, 1);
    t.is(again[0]!.frame.message!.payload, 'kept in the log');
  },
);

test.serial('[M01] during kill -9 of Postgres messages continue, and history catches up', async (t) => {
  const [a, b] = [await insertPerson(env), await insertPerson(env)];
  await gateway.call(directMessage(a, b), '"first"');
  await env.postgres.kill9();
  t.like(await gateway.call(directMessage(a, b), '"while it is away"'), { seq: 2 });
  await env.postgres.restart();
  const { conversation_id } = await gateway.call(directMessage(a, b), '"third"');
  await env.settle();
  t.deepEqual(
    await env.db.query('select seq from messages where conversation_id = $1 order by seq', [conversation_id]),
    [{ seq: 1 }, { seq: 2 }, { seq: 3 }],
  );
});
