/** Payment events whatever dies, sleeps or fills up meanwhile: one effect each. */
import { jetstreamManager } from '@nats-io/jetstream';
import test from 'ava';
import { DEAD, subject } from '../../nats/topology.ts';
import { encodePayments } from '../../shared/pipeline/payments.ts';
import { QUICK_HASHING } from '../api/http.ts';
import { type Addresses, type Env, type Spawned, startEnv } from '../env/index.ts';
import { until } from '../env/until.ts';
import { paymentEvent, SECRET, sendEvent } from './fake-service.ts';
import { createId, readPaymentEvents, startConversation } from './people.ts';

let env: Env;
let at: Addresses;
let worker: Spawned;

test.before(async () => {
  env = await startEnv({ ...QUICK_HASHING, PAYMENTS_WEBHOOK_SECRET: SECRET, AWAY_GRACE_MS: 100 });
  at = await env.start('events', 'history', 'fanout', 'ingest', 'api', 'edge');
  worker = await env.spawn('payments-webhook');
});
test.after.always(() => env?.stop());

test.serial('[P02] killing the worker again and again loses no event and announces none twice', async (t) => {
  const { anna, ben, conversation_id } = await startConversation(at);
  const requests = Array.from({ length: 60 }, () => createId('PR'));
  const sending = (async () => {
    for (const request of requests) {
      for (const to of ['create', 'accept'])
        t.is(
          (await sendEvent(at.apiUrl, paymentEvent(to, request, { conversation_id }, `${to}_${request}`))).status,
          202,
        );
    }
  })();
  for (let i = 0; i < 3; i++) {
    const seen = ben.payments.length;
    await until(() => ben.payments.length > seen || ben.payments.length >= 100);
    await worker.kill9();
    await worker.restart();
  }
  await sending;
  await env.settle();
  await anna.send(ben, 'last');
  await until(() => ben.payloads.includes('last'));
  for (const request of requests) {
    t.deepEqual(ben.statesOf(request), ['pending', 'accepted']);
    t.deepEqual(
      (await readPaymentEvents(env, request)).map(({ data }) => data.state),
      ['pending', 'accepted'],
    );
  }
  await Promise.all([anna, ben].map(({ device }) => device.close()));
});

test.serial('[P02] a worker that was frozen and resumes beside a second one announces nothing twice', async (t) => {
  const { anna, ben, conversation_id } = await startConversation(at);
  const requests = Array.from({ length: 20 }, () => createId('PR'));
  const send20 = (to: string) =>
    Promise.all(requests.map((request) => sendEvent(at.apiUrl, paymentEvent(to, request, { conversation_id }))));
  const second = await env.spawn('payments-webhook');
  await send20('create');
  await env.settle();
  worker.signal('SIGSTOP');
  await send20('decline');
  await until(() => requests.every((request) => ben.statesOf(request).length === 2));
  worker.signal('SIGCONT');
  await send20('accept');
  await until(() => requests.every((request) => ben.statesOf(request).includes('accepted')));
  await env.settle();
  await anna.send(ben, 'last');
  await until(() => ben.payloads.includes('last'));
  for (const request of requests) t.deepEqual(ben.statesOf(request), ['pending', 'declined', 'accepted']);
  await second.stop();
  await Promise.all([anna, ben].map(({ device }) => device.close()));
});

test.serial('[P02] an undecodable payment event becomes a dead letter, and the rest continues', async (t) => {
  const nc = await env.nats('api');
  await nc.request(subject.payments, 'no event');
  const request = createId('PR');
  await sendEvent(at.apiUrl, paymentEvent('create', request));
  await env.settle();
  t.is((await env.db.query('select 1 from payment_requests where request_id = $1', [request])).length, 1);
  const jsm = await jetstreamManager(await env.nats('admin'));
  const dead = await jsm.streams.getMessage(DEAD, { last_by_subj: subject.dead('payments-webhook') });
  t.is(dead?.string(), 'no event');
});

test.serial('[P02] a full disk or failover of Postgres makes events wait, not dead letters', async (t) => {
  const { query } = env.db;
  const jsm = await jetstreamManager(await env.nats('admin'));
  const dead = async (): Promise<number> => (await jsm.streams.info(DEAD)).state.messages;
  const before = await dead();
  // A sequence keeps count of what is rolled back. More failures than a message that can't be handled is given.
  await query('create sequence payment_tries');
  await query(`create function no_room() returns trigger language plpgsql as $$ begin
    raise exception 'as Postgres would' using errcode =
      (array['53100', '25006', '40P01', '57014', '58030'])[1 + nextval('payment_tries') % 5];
  end $$`);
  await query('create trigger no_room before insert on payment_events for each row execute function no_room()');
  const requests = [createId('PR'), createId('PR')];
  for (const request of requests) t.is((await sendEvent(at.apiUrl, paymentEvent('create', request))).status, 202);
  await until(async () => (await query<{ n: number }>('select last_value as n from payment_tries'))[0]!.n >= 14);
  t.is(await dead(), before);
  await query('drop function no_room cascade');
  await env.settle();
  t.is((await query('select 1 from payment_requests where request_id = any($1)', [requests])).length, 2);
  t.is(await dead(), before);
});

test.serial(
  '[P02] an accepted event survives the broker, and events are accepted while Postgres is down',
  async (t) => {
    const { anna, ben, conversation_id } = await startConversation(at);
    const request = createId('PR');
    await env.postgres.kill9();
    const answer = await sendEvent(at.apiUrl, paymentEvent('accept', request, { conversation_id }, createId('evt')));
    t.deepEqual(answer, { status: 202, data: { received: true, duplicate: false } } as never);
    await env.broker.kill9();
    await env.broker.restart();
    t.is((await sendEvent(at.apiUrl, paymentEvent('create', request), { secret: 'wrong' })).status, 401);
    await env.postgres.restart();
    await until(() => ben.statesOf(request).length > 0);
    await env.settle();
    t.deepEqual(ben.statesOf(request), ['accepted']);
    await Promise.all([anna, ben].map(({ device }) => device.close()));
  },
);

test.serial(
  '[P02] an event sent 100 times simultaneously, and again after all caches are gone, has one effect',
  async (t) => {
    const { anna, ben, conversation_id } = await startConversation(at);
    const request = createId('PR');
    const event = paymentEvent('accept', request, { transfer_id: 'T', conversation_id }, createId('evt'));
    const answers = await Promise.all(Array.from({ length: 100 }, () => sendEvent(at.apiUrl, event)));
    t.true(answers.every(({ status }) => status === 202));
    t.is(answers.filter(({ data }) => !data.duplicate).length, 1);
    await env.settle();
    t.true((await sendEvent(at.apiUrl, event)).data.duplicate, 'Postgres knows it for ever');
    // A repeat that passed the broker's short memory and the early look.
    const nc = await env.nats('api');
    const again = {
      key: `id:${event.id}`,
      type: event.type as 'requests.accept',
      request_id: request,
      received_at: Date.now(),
    };
    for (let i = 0; i < 20; i++) await nc.request(subject.payments, encodePayments([again, again]));
    await env.settle();
    await anna.send(ben, 'last');
    await until(() => ben.payloads.includes('last'));
    t.deepEqual(ben.statesOf(request), ['accepted']);
    t.is((await readPaymentEvents(env, request)).length, 1);
    const [{ n }] = (await env.db.query<{ n: number }>(
      'select count(*) as n from payment_events where request_id = $1',
      [request],
    )) as [{ n: number }];
    t.is(n, 1);
    await Promise.all([anna, ben].map(({ device }) => device.close()));
  },
);
