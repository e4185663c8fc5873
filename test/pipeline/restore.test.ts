/** A worker that restores its own partition skips nothing and reports nothing missing that exists. */
import { jetstreamManager } from '@nats-io/jetstream';
import test from 'ava';
import { headers, type Msg } from 'nats';
import { DeliverySequence, EntriesMissing } from '../../nats/delivery-sequence.ts';
import { PartitionConsumer } from '../../nats/partition-consumer.ts';
import { Publisher } from '../../nats/publisher.ts';
import { streams } from '../../nats/streams.ts';
import { consumer, LOG, subject } from '../../nats/topology.ts';
import { createLog } from '../../shared/log.ts';
import { createMetrics } from '../../shared/metrics.ts';
import { type Env, startEnv } from '../env/index.ts';
import { until } from '../env/until.ts';

const ENTRIES = 2_000;
const TAKE_OVERS = 100;
let env: Env;
test.before(async () => {
  env = await startEnv();
});
test.after.always(() => env?.stop());

test('[M01] a worker that restores its partition again and again under load reads every entry in order', async (t) => {
  const nc = await env.nats('fanout');
  const publisher = new Publisher(await env.nats('ingest'));
  const { consumers } = streams(env.config).find(({ config }) => config.name === LOG)!;
  let read = 0;
  let holes = 0;
  let takeOvers = 0;
  const writer = new PartitionConsumer<number>(nc, {
    ...{ stage: 'fanout', partition: 0, stream: LOG, window: 64, chained: true },
    ...{ log: createLog(env.config), metrics: createMetrics() },
    consumer: consumers.find(({ durable_name }) => durable_name === consumer.fanout(0))!,
    decode: (data) => Number(Buffer.from(data).toString()),
    restore: async () => {
      takeOvers++;
      return 1;
    },
    handle: async (batch) => {
      for (const { value } of batch) {
        if (value > read + 1) holes++;
        read = Math.max(read, value);
      }
      if (takeOvers < TAKE_OVERS) writer.requestRestore();
    },
  });
  for (let entry = 1, after = 0; entry <= ENTRIES; entry++)
    after = await publisher.appendToLog(0, after, Buffer.from(`${entry}`));
  await until(() => read === ENTRIES || writer.ready() !== true, 60_000);
  t.is(writer.ready(), true);
  t.is(read, ENTRIES);
  t.is(holes, 0);
  t.is(takeOvers, TAKE_OVERS);
  await writer.close();
  publisher.close();
});

test('[M01] skipped entries count as removed only when the stream no longer has them', async (t) => {
  const nc = await env.nats('admin');
  const publisher = new Publisher(nc);
  const seqs: number[] = [];
  for (let i = 0; i < 3; i++) seqs.push(await publisher.appendToLog(1, seqs.at(-1) ?? 0, Buffer.from('x')));
  const about = headers();
  about.set('Nats-Expected-Last-Subject-Sequence', `${seqs[1]}`);
  const deliveries = new DeliverySequence({ chained: true });
  deliveries.reset(1, 1, true);
  const missing = deliveries.classify({ headers: about, subject: subject.log(1) } as Msg, seqs[2]!, 1);
  if (!(missing instanceof EntriesMissing)) return t.fail('the first two were not delivered');
  t.false(await missing.areRemoved(nc, LOG));
  await (await jetstreamManager(nc)).streams.purge(LOG, { filter: subject.log(1), seq: seqs[2]! });
  t.true(await missing.areRemoved(nc, LOG));
  publisher.close();
});
