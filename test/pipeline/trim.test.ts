/** LOG forgets only what all its readers have read; where somebody else removed more, they stop. */
import { jetstreamManager } from '@nats-io/jetstream';
import test from 'ava';
import { Gateway } from '../../nats/gateway.ts';
import { readLogHead } from '../../nats/log-reader.ts';
import { provisionBroker } from '../../nats/provisioning/broker.ts';
import { LOG, subject } from '../../nats/topology.ts';
import { LogTrimmer } from '../../services/history/trim.ts';
import { createLog } from '../../shared/log.ts';
import { createMetrics } from '../../shared/metrics.ts';
import type { Context, Service, ServiceDefinition } from '../../shared/service.ts';
import type { ServiceName } from '../../shared/service-names.ts';
import { type Env, startEnv } from '../env/index.ts';
import { insertPerson, type PersonRow } from '../env/people.ts';
import { until } from '../env/until.ts';
import { directMessage } from './inbox.ts';

let env: Env;
let gateway: Gateway;
let trimmer: LogTrimmer;
let people: PersonRow[];
test.beforeEach(async () => {
  env = await startEnv({ PARTITIONS: 1, PIN_TIMEOUT_MS: 500, LOG_LEVEL: 'fatal' });
  await env.start('ingest');
  gateway = new Gateway(await env.nats('edge'), env.config);
  trimmer = new LogTrimmer(await env.nats('history'), {
    ...{ partitions: 1, retentionMs: 0, everyMs: 3_600_000, log: createLog(env.config) },
  });
  people = [await insertPerson(env), await insertPerson(env)];
});
test.afterEach.always(async () => {
  gateway.close();
  await trimmer.close();
  await env?.stop();
});

async function open(name: ServiceName): Promise<Service> {
  const { default: definition }: { default: ServiceDefinition } = await import(`../../services/${name}/index.ts`);
  const context: Context = {
    ...{ config: env.config, log: createLog(env.config), metrics: createMetrics(), db: env.db, services: new Map() },
    connect: (service) => env.nats(service),
  };
  return await definition.open(context);
}
async function send(n: number): Promise<void> {
  for (let i = 0; i < n; i++) await gateway.call(directMessage(people[0]!, people[1]!), '"x"');
}
const entries = async (): Promise<number> =>
  (await (await jetstreamManager(await env.nats('admin'))).streams.info(LOG)).state.messages;
const written = async (): Promise<number> =>
  (await env.db.query<{ n: number }>('select count(*)::int as n from messages'))[0]!.n;

test.serial('[M01] LOG keeps every entry that one of its readers has not read, then only the last entry', async (t) => {
  const [history, events] = [await open('history'), await open('events')];
  await send(5);
  await until(async () => (await written()) === 5);
  await trimmer.trimNow();
  t.is(await entries(), 5, 'fanout has not read them');
  const fanout = await open('fanout');
  await env.settle(30_000, 'history', 'events', 'fanout');
  await trimmer.trimNow();
  t.is(await entries(), 1);
  await send(2);
  await until(async () => (await written()) === 7);
  await env.settle(30_000, 'history', 'events', 'fanout');
  for (const service of [history, events, fanout]) {
    t.is(service.ready(), true);
    await service.close();
  }
  const { config } = await (await jetstreamManager(await env.nats('admin'))).streams.info(LOG);
  t.is(config.max_age, 0);
});

test.serial('[M01] provisioning removes a maximum age from LOG', async (t) => {
  const manager = await jetstreamManager(await env.nats('admin'));
  const { config } = await manager.streams.info(LOG);
  await manager.streams.update(LOG, { ...config, max_age: 7 * 86_400_000_000_000 });
  t.deepEqual(await provisionBroker(env.config), ['updated stream LOG: max_age']);
  t.is((await manager.streams.info(LOG)).config.max_age, 0);
});

test.serial('[M01] entries removed before they were read stop their readers with a reason', async (t) => {
  const manager = await jetstreamManager(await env.nats('admin'));
  let history = await open('history');
  await send(2);
  await until(async () => (await written()) === 2);
  await history.close();
  await send(3);
  await manager.streams.purge(LOG, { filter: subject.log(0), seq: 5 });
  history = await open('history');
  await until(() => history.ready() !== true, 20_000);
  t.regex(
    String(history.ready()),
    /history 0 has stopped: entries after 2 up to 4 of log.0 were removed before they were read/,
  );
  t.is(await written(), 2);
  await history.close();
  env = Object.assign(env, { config: { ...env.config, LOG_ACCEPT_MISSING: ['history:0:4'] } });
  history = await open('history');
  await until(async () => (await written()) === 3, 20_000);
  t.is(history.ready(), true, 'given up');
  await history.close();
});

test.serial('[M01] a partition whose entries were all read and removed continues', async (t) => {
  const manager = await jetstreamManager(await env.nats('admin'));
  const opened = [await open('history'), await open('events')];
  await send(2);
  await until(async () => (await written()) === 2);
  await env.settle(30_000, 'history', 'events');
  for (const service of opened) await service.close();
  await manager.streams.purge(LOG);
  t.like(await readLogHead(await env.nats('admin'), 0), { head: 0, last: 2 });
  const again = [await open('history'), await open('events')];
  const nc = await env.nats('admin');
  await nc.request(subject.log(0), '');
  await until(async () => (await env.db.query('select 1 from log_positions where entry_seq = 3')).length === 1, 20_000);
  for (const service of again) {
    t.is(service.ready(), true);
    await service.close();
  }
});
