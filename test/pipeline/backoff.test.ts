/** Workers send few requests and log lines while JetStream does not serve them. */
import { setTimeout as delay } from 'node:timers/promises';
import { jetstreamManager } from '@nats-io/jetstream';
import test from 'ava';
import { pino } from 'pino';
import { connectNats } from '../../nats/connect.ts';
import { readLogHead } from '../../nats/log-reader.ts';
import { PartitionConsumer, RestoreRequired } from '../../nats/partition-consumer.ts';
import { provisionBroker } from '../../nats/provisioning/broker.ts';
import { PublishError, Publisher } from '../../nats/publisher.ts';
import { streams } from '../../nats/streams.ts';
import { consumer, LOG, subject } from '../../nats/topology.ts';
import { createMetrics } from '../../shared/metrics.ts';
import { type Env, startEnv } from '../env/index.ts';
import { until } from '../env/until.ts';

/** Long enough for a worker without back-off to send thousands of requests. */
const AWAY_MS = 3_000;
let env: Env;
test.before(async () => {
  env = await startEnv();
});
test.after.always(() => env?.stop());

async function worker(partition: number, handle: (seqs: number[]) => Promise<void>) {
  const nc = await env.nats('fanout');
  const lines: string[] = [];
  const log = pino({ level: 'info' }, { write: (line: string) => void lines.push(line) });
  const { consumers } = streams(env.config).find(({ config }) => config.name === LOG)!;
  const writer = new PartitionConsumer<string>(nc, {
    ...{ stage: 'fanout', partition, stream: LOG, window: 8, log, metrics: createMetrics() },
    consumer: consumers.find(({ durable_name }) => durable_name === consumer.fanout(partition))!,
    decode: (data) => Buffer.from(data).toString(),
    restore: async () => undefined,
    handle: (batch) => handle(batch.map(({ seq }) => seq)),
  });
  return { writer, lines, sent: () => nc.stats().outMsgs };
}

test.serial('[O03] a missing stream causes few requests and log lines, and work resumes once it is back', async (t) => {
  const admin = await env.nats('admin');
  const got: number[] = [];
  const one = await worker(0, async (seqs) => void got.push(...seqs));
  admin.publish(subject.log(0), 'before');
  await until(() => got.length === 1);
  const [lines, sent] = [one.lines.length, one.sent()];
  const manager = await jetstreamManager(admin);
  await manager.streams.delete(LOG);
  await delay(AWAY_MS);
  t.true(one.sent() - sent < 40, `${one.sent() - sent} requests`);
  t.true(one.lines.length - lines < 10, one.lines.slice(lines).join(''));
  await provisionBroker(env.config);
  admin.publish(subject.log(0), 'after');
  await until(() => got.length === 2, 10_000);
  await one.writer.close();
});

test.serial('[O03] a batch that keeps failing is retried at growing intervals with few log lines', async (t) => {
  const admin = await env.nats('admin');
  let tries = 0;
  let away = true;
  const one = await worker(1, async () => {
    tries++;
    if (away) throw new RestoreRequired('the broker takes nothing');
  });
  admin.publish(subject.log(1), 'one');
  await delay(AWAY_MS);
  t.true(tries > 1 && tries < 20, `${tries} tries`);
  t.true(one.lines.filter((line) => line.includes('batch failed')).length < 10);
  away = false;
  const manager = await jetstreamManager(admin);
  await until(async () => (await manager.consumers.info(LOG, consumer.fanout(1))).num_ack_pending === 0, 10_000);
  await one.writer.close();
});

test.serial('[O03] a publish and a request without an answer fail after BROKER_TIMEOUT_MS', async (t) => {
  const nc = await connectNats({ ...env.config, BROKER_TIMEOUT_MS: 200 }, 'ingest');
  const publisher = new Publisher(nc);
  const head = (await readLogHead(nc, 0)).head;
  const begun = performance.now();
  env.broker.signal('SIGSTOP');
  try {
    await t.throwsAsync(publisher.appendToLog(0, head, Buffer.from('x')), { instanceOf: PublishError });
    await t.throwsAsync(readLogHead(nc, 0));
  } finally {
    env.broker.signal('SIGCONT');
  }
  t.true(performance.now() - begun < 5_000, 'by default each would take as long');
  publisher.close();
  await nc.close();
});
