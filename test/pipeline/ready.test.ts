/** What workers say of themselves while the broker is away or refuses. */
import { setTimeout as delay } from 'node:timers/promises';
import { jetstreamManager } from '@nats-io/jetstream';
import test from 'ava';
import { Gateway } from '../../nats/gateway.ts';
import { LOG } from '../../nats/topology.ts';
import { createLog } from '../../shared/log.ts';
import { createMetrics } from '../../shared/metrics.ts';
import type { Context, Service, ServiceDefinition } from '../../shared/service.ts';
import type { ServiceName } from '../../shared/service-names.ts';
import { type Env, startEnv } from '../env/index.ts';
import { insertPerson } from '../env/people.ts';
import { until } from '../env/until.ts';
import { directMessage } from './inbox.ts';

const WORKERS = ['ingest', 'fanout', 'history', 'events', 'webhook', 'payments-webhook'] as const;

let env: Env;
const opened = new Map<ServiceName, Service>();
const metrics = createMetrics();

test.before(async () => {
  env = await startEnv({ READY_STUCK_MS: 500, LOG_LEVEL: 'fatal' });
  const context: Context = {
    ...{ config: env.config, log: createLog(env.config), metrics, db: env.db, services: opened },
    connect: (service) => env.nats(service),
  };
  for (const name of WORKERS) {
    const { default: definition }: { default: ServiceDefinition } = await import(`../../services/${name}/index.ts`);
    opened.set(name, await definition.open(context));
  }
  await until(() => unready().length === 0);
});
test.after.always(async () => {
  for (const service of [...opened.values()].reverse()) await service.close();
  await env?.stop();
});

const unready = (): ServiceName[] => WORKERS.filter((name) => opened.get(name)!.ready() !== true);

test.serial('[O03] every worker reports not ready for as long as the broker is down', async (t) => {
  await until(async () => /sealwire_lag_entries\{stage="history",partition="0"\} 0/.test(await text()));
  await env.broker.kill9();
  await until(() => unready().length === WORKERS.length, 10_000);
  t.regex(String(opened.get('history')!.ready()), /history \d has not heard from LOG for \d+ ms/);
  // Longer than the watchdogs of the workers wait before they begin anew.
  for (const end = Date.now() + 6_000; Date.now() < end; await delay(50))
    if (unready().length < WORKERS.length) return t.fail(`ready again without a broker: not so ${unready()}`);
  t.notRegex(await text(), /sealwire_lag_entries\{/, 'nobody knows how far behind they are');
  t.regex(await text(), /sealwire_ready\{stage="ingest",partition="0"\} 0/);
  t.is(opened.get('ingest')!.brokerRefusesSince?.(), undefined, 'it does not answer, so it does not refuse');
  await env.broker.restart();
  await until(() => unready().length === 0, 30_000);
  await until(async () => /sealwire_lag_entries\{stage="history",partition="0"\} 0/.test(await text()));
});

test.serial('[O03] when the broker refuses what ingest appends, /ready says since when and why', async (t) => {
  const manager = await jetstreamManager(await env.nats('admin'));
  const gateway = new Gateway(await env.nats('edge'), env.config);
  await gateway.call(directMessage(await insertPerson(env), await insertPerson(env)), '"before"');
  const { config, state } = await manager.streams.info(LOG);
  const begun = Date.now();
  await manager.streams.update(LOG, { ...config, discard: 'new', max_msgs: state.messages });
  const answer = gateway.call(directMessage(await insertPerson(env), await insertPerson(env)), '"refused for a while"');
  const ingest = opened.get('ingest')!;
  await until(() => ingest.ready() !== true);
  t.regex(String(ingest.ready()), /ingest \d has been failing for \d+ ms: LOG: maximum messages exceeded/);
  t.true(ingest.brokerRefusesSince!()! >= begun);
  await until(async () => /sealwire_lag_entries\{stage="ingest",partition="\d"\} 1/.test(await text()));
  await until(async () =>
    /sealwire_oldest_unacknowledged_seconds\{stage="ingest",partition="\d"\} [1-9]/.test(await text()),
  );
  await manager.streams.update(LOG, { ...config, max_msgs: -1 });
  t.is((await answer).seq, 1);
  await until(() => ingest.ready() === true);
  t.is(ingest.brokerRefusesSince!(), undefined);
  gateway.close();
});

const text = (): Promise<string> => metrics.registry.metrics();
