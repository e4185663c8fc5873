/** How far fanout goes back, on a real broker: after a loss as far as it must, else not at all. */
import { jetstreamManager } from '@nats-io/jetstream';
import test from 'ava';
import type { NatsConnection } from 'nats';
import { Writer } from '../../nats/consume.ts';
import { consumer, inboxStream, LOG, streams, subject } from '../../nats/topology.ts';
import { Lives } from '../../services/fanout/lives.ts';
import { createLog } from '../../shared/log.ts';
import { createMetrics } from '../../shared/metrics.ts';
import { until } from '../edge/devices.ts';
import { type Env, startEnv } from '../env/index.ts';

let env: Env;
test.before(async () => {
  env = await startEnv();
});
test.after.always(() => env?.stop());

const reset = (nc: NatsConnection, seq: number) =>
  nc.request(`$JS.API.CONSUMER.RESET.${LOG}.${consumer.fanout(0)}`, JSON.stringify({ seq }));

/** A fanout that writes nothing: what it is given counts. */
async function worker() {
  const nc = await env.nats('fanout');
  const log = createLog(env.config);
  const lives = new Lives(nc, env.config, log);
  const got: number[] = [];
  const durable = consumer.fanout(0);
  const { consumers } = streams(env.config).find(({ config }) => config.name === LOG)!;
  const writer = new Writer<string>(nc, {
    ...{ stage: 'fanout', partition: 0, stream: LOG, window: 8, log, metrics: createMetrics() },
    consumer: consumers.find(({ durable_name }) => durable_name === durable)!,
    decode: (data) => Buffer.from(data).toString(),
    takeOver: async () => (await lives.takeOver(0)).from,
    handle: async (batch) => void got.push(...batch.map(({ seq }) => seq)),
  });
  return { lives, got, writer };
}

test('[M06] who took a partition over and has not marked it yet does not go back; who finds it unmarked does', async (t) => {
  const admin = await env.nats('admin');
  const manager = await jetstreamManager(admin);
  const floor = async (): Promise<number> =>
    (await manager.consumers.info(LOG, consumer.fanout(0))).ack_floor.stream_seq;
  const shards = Array.from({ length: env.config.INBOX_SHARDS }, (_, shard) => shard);
  const { lives, got, writer } = await worker();
  for (let i = 0; i < 3; i++) admin.publish(subject.log(0), `entry ${i}`);
  await until(async () => (await floor()) === 3);
  await lives.repair();
  t.is(await floor(), 3);
  t.deepEqual(got, [1, 2, 3]);
  await lives.mark(0, 3);
  await until(async () => {
    const found = shards.map((shard) =>
      manager.direct.getMessage(inboxStream(shard), { last_by_subj: subject.mark(shard, 0) }).catch(() => null),
    );
    return (await Promise.all(found)).every((mark) => mark);
  });
  await writer.close();

  // Another process finds the mark, and so knows that nothing is missing.
  const next = await worker();
  await next.lives.repair();
  t.is(await floor(), 3);
  await next.writer.close();

  for (const shard of shards) await manager.streams.purge(inboxStream(shard));
  const last = await worker();
  await last.lives.repair();
  await until(() => last.got.length === 3);
  t.deepEqual(last.got, [1, 2, 3], 'nobody can say whether they were written');
  await until(async () => (await floor()) === 3);

  // Another process that saw no mark yet moves the durable under who works it.
  await reset(admin, 1);
  await until(async () => (await floor()) === 3);
  t.deepEqual(last.got, [1, 2, 3], 'what is done is acknowledged once more, not done');
  admin.publish(subject.log(0), 'entry 3');
  await until(async () => (await floor()) === 4);
  t.is(last.got.at(-1), 4);
  await last.writer.close();
});
