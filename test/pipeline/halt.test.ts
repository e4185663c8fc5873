/** A worker stops its partition at what it must not skip, and the others continue. */
import { jetstreamManager } from '@nats-io/jetstream';
import test from 'ava';
import { consumer, DEAD, LOG, subject } from '../../nats/topology.ts';
import { Members } from '../../services/fanout/members.ts';
import { uuid7 } from '../../shared/ids.ts';
import { createLog } from '../../shared/log.ts';
import { createMetrics } from '../../shared/metrics.ts';
import { EntryWriter, type LogMeta, type LogRecord, type PaymentRecord } from '../../shared/pipeline/entry.ts';
import type { Context, Service, ServiceDefinition } from '../../shared/service.ts';
import type { ServiceName } from '../../shared/service-names.ts';
import { type Env, startEnv } from '../env/index.ts';
import { until } from '../env/until.ts';

const metrics = createMetrics();
let env: Env;
test.beforeEach(async () => {
  env = await startEnv({ PARTITIONS: 1, PIN_TIMEOUT_MS: 500, LOG_LEVEL: 'fatal' });
});
test.afterEach.always(() => env?.stop());

async function open(name: ServiceName): Promise<Service> {
  const { default: definition }: { default: ServiceDefinition } = await import(`../../services/${name}/index.ts`);
  const context: Context = {
    ...{ config: env.config, log: createLog(env.config), metrics, db: env.db, services: new Map() },
    connect: (service) => env.nats(service),
  };
  return await definition.open(context);
}

const record = (seq: number, conversation_id: string, more: object = {}): LogMeta => ({
  ...{ kind: 'message', id: uuid7(), conversation_id, seq, user_id: uuid7(), device_id: uuid7(), at: Date.now() },
  ...{ client_message_id: uuid7(), pair: [uuid7(), uuid7()], ...more },
});

async function append(...metas: LogMeta[]): Promise<void> {
  const entry = new EntryWriter();
  for (const meta of metas) entry.add(meta, Buffer.from('{"payload":'), Buffer.from('"x"'));
  const nc = await env.nats('admin');
  await nc.request(subject.log(0), entry.finish());
}

const position = async (): Promise<number | undefined> =>
  (await env.db.query<{ at: number }>('select entry_seq::int as at from log_positions'))[0]?.at;

test.serial(
  '[M01] two messages with the same seq stop history until an operator repairs it, and neither is dropped',
  async (t) => {
    const manager = await jetstreamManager(await env.nats('admin'));
    const letters = async (): Promise<number> => (await manager.streams.info(DEAD)).state.messages;
    const conversation = uuid7();
    const first = record(1, conversation, { opens: true });
    const wrong = record(1, conversation) as LogMeta & { id: string };
    await append(first);
    let history = await open('history');
    await until(async () => (await position()) === 1);
    await append(first);
    await until(async () => (await position()) === 2, 15_000);
    t.is(history.ready(), true, 'the same record again is harmless');
    await append(record(2, conversation));
    await append(wrong);
    await append(record(3, conversation));
    for (const _ of ['as it is', 'started again']) {
      await until(() => history.ready() !== true, 15_000);
      t.regex(
        String(history.ready()),
        new RegExp(`^history 0 has stopped: message ${wrong.id} .*another message has its place`),
      );
      t.is(await position(), 3, 'what lies before it is written');
      t.is(await letters(), 1);
      t.regex(await metrics.registry.metrics(), /sealwire_stopped\{stage="history",partition="0"\} 1/);
      const { ack_floor } = await manager.consumers.info(LOG, consumer.history(0));
      t.true(ack_floor.stream_seq < 4);
      await history.close();
      history = await open('history');
    }
    // The repair of docs/operations.md.
    await history.close();
    await env.db.query('update log_positions set entry_seq = 4');
    history = await open('history');
    await until(async () => (await position()) === 5);
    t.is(history.ready(), true);
    const rows = await env.db.query('select seq::int from messages order by seq');
    t.deepEqual(rows, [{ seq: 1 }, { seq: 2 }, { seq: 3 }]);
    await history.close();
  },
);

test.serial('[M01] an unknown kind of record stops the workers and is not skipped', async (t) => {
  const services = new Map<ServiceName, Service>();
  for (const name of ['fanout', 'history', 'events'] as const) services.set(name, await open(name));
  await append(record(1, uuid7(), { opens: true }));
  await append({ ...record(2, uuid7()), kind: 'edit' } as unknown as LogMeta);
  await until(() => [...services.values()].every((service) => service.ready() !== true), 15_000);
  for (const [name, service] of services)
    t.regex(String(service.ready()), new RegExp(`${name} 0 has stopped: .*kind edit.*update this service`));
  const manager = await jetstreamManager(await env.nats('admin'));
  t.is((await manager.streams.info(DEAD)).state.messages, 0);
  for (const service of services.values()) await service.close();
});

test.serial('[P03] a payment in a conversation does not go back, even when the log is read again', async (t) => {
  const conversation = uuid7();
  const payment = (state: PaymentRecord['state']): LogMeta => ({
    ...{ kind: 'payment', conversation_id: conversation, seq: 0, user_id: '', device_id: '', at: Date.now() },
    ...{ request_id: 'r-1', state },
  });
  const history = await open('history');
  await append(payment('accepted'), payment('declined'));
  await append(payment('pending'));
  await until(async () => (await position()) === 2, 15_000);
  t.deepEqual(await env.db.query('select state from conversation_payments'), [{ state: 'accepted' }]);
  await history.close();
});

test.serial('[C02] fanout knows the members of each group in a batch, however few groups it caches', async (t) => {
  const members = new Members(env.db.query, 1);
  const [told, other, stored] = [uuid7(), uuid7(), uuid7()];
  const user = uuid7();
  await env.db.query("insert into members (conversation_id, user_id, role, joined_seq) values ($1, $2, 'member', 0)", [
    stored,
    user,
  ]);
  const empty = Buffer.alloc(0);
  const group = (id: string): LogRecord => ({
    meta: { ...record(0, id), kind: 'conversation', type: 'group', members: [[user, 'owner']] } as LogMeta,
    ...{ head: empty, body: empty },
  });
  const message = (id: string): LogRecord => ({ meta: record(1, id, { pair: undefined }), head: empty, body: empty });
  const batch = [group(told), group(other), message(stored), message(told), message(other)];
  await members.load(batch);
  for (const id of [told, other, stored]) t.deepEqual(members.membersOf(id), [user]);
  // The next batch needs a group that the cache has evicted.
  await members.load([message(stored)]);
  t.deepEqual(members.membersOf(stored), [user]);
});
