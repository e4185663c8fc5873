/** After a loss fanout goes back as far as it must, and otherwise not at all. */
import { jetstreamManager } from '@nats-io/jetstream';
import test from 'ava';
import type { NatsConnection } from 'nats';
import { PartitionConsumer } from '../../nats/partition-consumer.ts';
import { streams } from '../../nats/streams.ts';
import { consumer, inboxStream, LOG, MARKS, subject } from '../../nats/topology.ts';
import { progressHeader, readCheckpoint, readShardProgress } from '../../services/fanout/checkpoints.ts';
import { InboxRecovery } from '../../services/fanout/inbox-recovery.ts';
import type { PartitionStart } from '../../services/fanout/partition-start.ts';
import { createLog } from '../../shared/log.ts';
import { createMetrics } from '../../shared/metrics.ts';
import { type Env, startEnv } from '../env/index.ts';
import { until } from '../env/until.ts';

let env: Env;
test.before(async () => {
  env = await startEnv();
});
test.after.always(() => env?.stop());

const reset = (nc: NatsConnection, seq: number) =>
  nc.request(`$JS.API.CONSUMER.RESET.${LOG}.${consumer.fanout(0)}`, JSON.stringify({ seq }));

/** Starts a fanout consumer that writes nothing and records the entries that it gets. */
async function worker() {
  const nc = await env.nats('fanout');
  const log = createLog(env.config);
  const lives = new InboxRecovery(nc, env.config, log);
  const got: number[] = [];
  let start: PartitionStart | undefined;
  const durable = consumer.fanout(0);
  const { consumers } = streams(env.config).find(({ config }) => config.name === LOG)!;
  const writer = new PartitionConsumer<string>(nc, {
    ...{ stage: 'fanout', partition: 0, stream: LOG, window: 8, log, metrics: createMetrics() },
    consumer: consumers.find(({ durable_name }) => durable_name === durable)!,
    decode: (data) => Buffer.from(data).toString(),
    restore: async () => {
      start = await lives.startPartition(0);
      return start.from;
    },
    handle: async (batch) => void got.push(...batch.map(({ seq }) => seq)),
  });
  return { lives, got, writer, mark: (entry: number) => lives.writeCheckpoint(0, entry, start!.cursors) };
}

test('[M06] fanout rewinds a partition without a checkpoint, except one that it already owns', async (t) => {
  const admin = await env.nats('admin');
  const manager = await jetstreamManager(admin);
  const floor = async (): Promise<number> =>
    (await manager.consumers.info(LOG, consumer.fanout(0))).ack_floor.stream_seq;
  const { lives, got, writer, mark } = await worker();
  for (let i = 0; i < 3; i++) admin.publish(subject.log(0), `entry ${i}`);
  await until(async () => (await floor()) === 3);
  await lives.repairInboxes();
  t.is(await floor(), 3);
  t.deepEqual(got, [1, 2, 3]);
  await mark(3);
  t.is((await readCheckpoint(admin, 0))?.entry, 3);
  await writer.close();

  // Another process finds the checkpoint, and so knows that nothing is missing.
  const next = await worker();
  await next.lives.repairInboxes();
  t.is(await floor(), 3);
  await next.writer.close();

  await manager.streams.purge(MARKS);
  const last = await worker();
  await last.lives.repairInboxes();
  await until(() => last.got.length === 3);
  t.deepEqual(last.got, [1, 2, 3], 'nobody can say whether they were written');
  await until(async () => (await floor()) === 3);

  // A process that saw no checkpoint yet moves the durable while this worker uses it.
  await reset(admin, 1);
  await until(async () => (await floor()) === 3);
  t.deepEqual(last.got, [1, 2, 3], 'what is done is acknowledged once more, not done');
  admin.publish(subject.log(0), 'entry 3');
  await until(async () => (await floor()) === 4);
  t.is(last.got.at(-1), 4);
  await last.writer.close();
});

test('[M06] fanout resumes a truncated shard from its newest valid checkpoint and the items after it', async (t) => {
  const nc = await env.nats('admin');
  const manager = await jetstreamManager(nc);
  const before = (await manager.streams.info(inboxStream(1))).state.last_seq;
  // One item per entry: the shard has everything up to entry 25.
  for (let entry = 1; entry <= 25; entry++)
    await nc.request('inbox.01.somebody.all', '', { headers: progressHeader(0, entry), timeout: 5_000 });
  const [old, base] = [1_000, 1_000_000];
  const about = { server: 'a', log: 'l', seq: 1, at: Date.now() };
  const marks = [30, 20, 10].map((entry) => ({ ...about, entry, cursors: [0, old + before + entry] }));
  const whole = { server: 'a', created: '', generations: [{ from: 1, base: old }] };
  const cut = { ...whole, server: 'b', generations: [...whole.generations, { from: before + 26, base }] };
  t.deepEqual(await readShardProgress(nc, 1, 0, cut, marks), { entry: 25, seq: before + 25 });
  t.deepEqual(
    await readShardProgress(nc, 1, 0, cut, marks.slice(0, 1)),
    { entry: -1, seq: 0 },
    'it counts what was lost',
  );
  t.is((await readShardProgress(nc, 1, 0, whole, marks)).entry, 30);
  const anew = { server: 'b', created: 'later', generations: [{ from: 1, base }] };
  t.deepEqual(await readShardProgress(nc, 1, 0, anew, marks), { entry: -1, seq: 0 }, 'the stream is another one');
});
