/** The pin of a partition, which the broker gives to one worker at a time and renews by pull requests only. */
import { setTimeout as delay } from 'node:timers/promises';
import test from 'ava';
import { PartitionConsumer } from '../../nats/partition-consumer.ts';
import { streams } from '../../nats/streams.ts';
import { consumer, LOG, subject } from '../../nats/topology.ts';
import { createLog } from '../../shared/log.ts';
import { createMetrics } from '../../shared/metrics.ts';
import { type Env, startEnv } from '../env/index.ts';
import { until } from '../env/until.ts';

const PIN_MS = 500;
const WINDOW = 64;
/** Slower than half a window per pin time-out: the window alone would not make the worker renew its pin in time. */
const APART_MS = 25;

let env: Env;
test.before(async () => {
  env = await startEnv({ PIN_TIMEOUT_MS: PIN_MS });
});
test.after.always(() => env?.stop());

async function worker(partition: number, handle: () => Promise<void> = async () => {}) {
  const metrics = createMetrics();
  const got: number[] = [];
  const counted = { takeOvers: 0 };
  const { consumers } = streams(env.config).find(({ config }) => config.name === LOG)!;
  const writer = new PartitionConsumer<string>(await env.nats('fanout'), {
    ...{ stage: 'fanout', partition, stream: LOG, window: WINDOW, log: createLog(env.config), metrics },
    consumer: consumers.find(({ durable_name }) => durable_name === consumer.fanout(partition))!,
    decode: (data) => Buffer.from(data).toString(),
    restore: async () => void counted.takeOvers++,
    async handle(batch) {
      await handle();
      got.push(...batch.map(({ seq }) => seq));
    },
  });
  return { writer, got, counted, metrics };
}

test('[M05] a worker with few messages per pin time-out takes over once and repeats nothing, and the standby waits', async (t) => {
  const nc = await env.nats('admin');
  const first = await worker(0);
  nc.publish(subject.log(0), 'first');
  await until(() => first.got.length === 1);
  const standby = await worker(0);
  const begun = performance.now();
  let sent = 1;
  for (; performance.now() - begun < 5 * PIN_MS; sent++) {
    nc.publish(subject.log(0), `entry ${sent}`);
    await delay(APART_MS);
  }
  await until(() => first.got.length + standby.got.length >= sent);
  t.is(first.counted.takeOvers, 1);
  t.is(standby.counted.takeOvers, 0);
  t.is(new Set(first.got).size, sent);
  t.is(first.got.length, sent, 'each once');
  t.regex(await first.metrics.registry.metrics(), /sealwire_takeovers_total\{stage="fanout",partition="0"\} 1\n/);
  await first.writer.close();
  nc.publish(subject.log(0), 'the first one is gone');
  await until(() => standby.got.length > 0);
  t.is(standby.counted.takeOvers, 1);
  await standby.writer.close();
});

test('[M05] a batch that takes several pin time-outs with a full window behind it keeps the pin', async (t) => {
  const nc = await env.nats('admin');
  let release = (): void => {};
  const held = new Promise<void>((resolve) => {
    release = resolve;
  });
  const first = await worker(1, () => held);
  nc.publish(subject.log(1), 'first');
  await until(() => first.counted.takeOvers === 1);
  const standby = await worker(1);
  const sent = 3 * WINDOW;
  for (let i = 1; i < sent; i++) nc.publish(subject.log(1), `entry ${i}`);
  await delay(4 * PIN_MS);
  release();
  await until(() => first.got.length + standby.got.length >= sent);
  t.is(first.counted.takeOvers, 1);
  t.is(standby.counted.takeOvers, 0);
  t.is(first.got.length, sent, 'each once');
  await Promise.all([first.writer.close(), standby.writer.close()]);
});
