/** Provisioning creates and updates the topology and refuses to lose data. */
import { execFileSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type JetStreamManager, jetstreamManager } from '@nats-io/jetstream';
import test from 'ava';
import { bucketSpecs } from '../../nats/buckets.ts';
import { provisionBroker } from '../../nats/provisioning/broker.ts';
import { RefusedChange } from '../../nats/provisioning/refusals.ts';
import { streams } from '../../nats/streams.ts';
import { findNatsBinary } from '../../services/local/nats-binary.ts';
import { type Env, startEnv } from '../env/index.ts';

let env: Env;
let jsm: JetStreamManager;
test.before(async () => {
  env = await startEnv();
  jsm = await jetstreamManager(await env.nats('admin'));
});
test.after.always(() => env?.stop());

test.serial(
  '[O04] every stream and consumer of the topology exists, with a description and explicit max_consumers',
  async (t) => {
    for (const { config, consumers } of [...streams(env.config), ...bucketSpecs(env.config)]) {
      const info = await jsm.streams.info(config.name);
      t.truthy(info.config.description, config.name);
      t.true(info.config.max_consumers > 0, config.name);
      for (const { durable_name } of consumers) {
        t.truthy((await jsm.consumers.info(config.name, durable_name)).config.description, durable_name);
      }
    }
  },
);

test.serial('[O02] provisioning again changes nothing', async (t) => {
  t.deepEqual(await provisionBroker(env.config), []);
});

test.serial(
  '[O02] inbox shards of a version that kept its checkpoints in them are migrated with their items',
  async (t) => {
    const { config } = await jsm.streams.info('INBOX_00');
    await jsm.streams.update('INBOX_00', { ...config, subjects: [...config.subjects, 'mark.00.*'] });
    const nc = await env.nats('admin');
    for (const to of ['inbox.00.somebody.all', 'mark.00.1']) await nc.request(to, '', { timeout: 5_000 });
    t.deepEqual(await provisionBroker(env.config), ['updated stream INBOX_00: subjects']);
    const { config: now, state } = await jsm.streams.info('INBOX_00');
    t.deepEqual(now.subjects, ['inbox.00.*.*']);
    t.is(state.messages, 2);
  },
);

test.serial('[O02] provisioning updates settings that may change', async (t) => {
  const days = env.config.EVENTS_RETENTION_DAYS;
  t.deepEqual(await provisionBroker({ ...env.config, EVENTS_RETENTION_DAYS: days + 1 }), [
    'updated stream EVENTS: max_age',
  ]);
  t.is((await jsm.streams.info('EVENTS')).config.max_age, (days + 1) * 86_400 * 1e9);
});

test.serial(
  '[O02] a change that would lose data is refused with stream and field, and nothing is changed',
  async (t) => {
    const days = env.config.EVENTS_RETENTION_DAYS;
    const refuse = async (config: typeof env.config, message: RegExp): Promise<void> => {
      await t.throwsAsync(provisionBroker(config), { instanceOf: RefusedChange, message });
    };
    const grown = { ...env.config, EVENTS_RETENTION_DAYS: days + 1 };
    await refuse({ ...grown, PARTITIONS: 3 }, /LOG.*partitions.*PARTITIONS=2/);
    await refuse({ ...grown, INBOX_SHARDS: 4 }, /LOG.*inbox_shards.*INBOX_SHARDS=2/);
    await refuse({ ...env.config, EVENTS_RETENTION_DAYS: 1 }, /EVENTS.*max_age.*--allow-loss/);
    await refuse({ ...grown, INBOX_QUOTA_ITEMS: 5 }, /INBOX_00.*max_msgs_per_subject/);
    t.is((await jsm.streams.info('EVENTS')).config.max_age, (days + 1) * 86_400 * 1e9);
    t.deepEqual(await provisionBroker({ ...env.config, EVENTS_RETENTION_DAYS: days }, { allowLoss: true }), [
      'updated stream EVENTS: max_age',
    ]);
  },
);

test.serial('[O02] a stream with another storage is refused', async (t) => {
  await jsm.streams.delete('DEAD');
  await jsm.streams.add({ name: 'DEAD', subjects: ['dead.>', 'more.>'], storage: 'memory' });
  await t.throwsAsync(provisionBroker(env.config), {
    instanceOf: RefusedChange,
    message: /DEAD, field storage: it is "memory", topology says "file"/,
  });
  await jsm.streams.delete('DEAD');
  t.deepEqual(await provisionBroker(env.config), ['created stream DEAD']);
});

test.serial('[O02] a consumer whose position would be lost is refused', async (t) => {
  await jsm.consumers.delete('LOG', 'history_0');
  await jsm.consumers.add('LOG', { durable_name: 'history_0', ack_policy: 'explicit' });
  await t.throwsAsync(provisionBroker(env.config), {
    instanceOf: RefusedChange,
    message: /consumer history_0, field ack_policy/,
  });
  await jsm.consumers.delete('LOG', 'history_0');
  t.deepEqual(await provisionBroker(env.config), ['created consumer LOG history_0']);
});

test('[O02] nats-server accepts the printed configuration', (t) => {
  const run = (vars: Record<string, string>, ...args: string[]): string =>
    execFileSync(process.execPath, ['nats/conf.ts', ...args], {
      encoding: 'utf8',
      env: { PATH: process.env.PATH, ...vars },
      stdio: 'pipe',
    });
  const file = join(env.dir, 'printed.conf');
  writeFileSync(
    file,
    run({ NATS_SECRET: 'a secret', NATS_STORE_DIR: join(env.dir, 'printed'), NATS_HTTP: '127.0.0.1:8222' }),
  );
  t.regex(
    execFileSync(findNatsBinary(undefined), ['-t', '-c', file], {
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'pipe'],
    }) || 'valid',
    /valid/,
  );
  t.regex(run({}, '--help'), /NATS_SECRET/);
  t.throws(() => run({}), { message: /NATS_SECRET is not set/ });
});
