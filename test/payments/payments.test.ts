/** What payment events do: requests, conversations, devices, webhooks' events; whatever comes twice, late or dies. */
import test from 'ava';
import { subject } from '../../nats/topology.ts';
import { adminToken } from '../../shared/auth/derived.ts';
import { type PaymentEvent, rankOf } from '../../shared/contract/payments.ts';
import { uuid7 } from '../../shared/ids.ts';
import { encodePayments } from '../../shared/pipeline/payments.ts';
import { Api, type Got, QUICK } from '../api/http.ts';
import { type Addresses, type Env, startEnv } from '../env/index.ts';
import { another } from '../env/people.ts';
import { until } from '../env/until.ts';
import { change, SECRET, send } from './fake-service.ts';
import { couple, events, id, Payee } from './people.ts';

let env: Env;
let at: Addresses;
let api: Api;

test.before(async () => {
  env = await startEnv({ ...QUICK, PAYMENTS_WEBHOOK_SECRET: SECRET, AWAY_GRACE_MS: 100 });
  at = await env.start('events', 'payments-webhook', 'history', 'fanout', 'ingest', 'api', 'edge');
  api = new Api(at.apiUrl);
});
test.after.always(() => env?.stop());

test('[P03] both people get each step of a request in their conversation on every device, at once or later', async (t) => {
  const { anna, ben, conversation_id } = await couple(at);
  const tablet = await Payee.up(at, await another(ben.device.session));
  await tablet.device.close();
  const request = id('PR');
  await send(at.apiUrl, change('create', request));
  await env.settle();
  const token = anna.device.session.access_token;
  const put = { id: conversation_id, token, body: { request_id: request } };
  const first = await api.ask('payments.attach', put);
  t.like(first, { status: 201, data: { request_id: request, conversation_id, state: 'pending', seq: 1 } });
  t.is((await api.ask('payments.attach', put)).status, 200, 'it was there');
  await anna.send(ben, 'there you are');
  t.is((await send(at.apiUrl, change('accept', request, { transfer_id: 'TR_1' }))).status, 202);
  await until(() => ben.states(request).length === 2 && anna.states(request).length === 1);
  t.deepEqual(ben.states(request), ['pending', 'accepted']);
  t.deepEqual(anna.states(request), ['accepted'], 'who put it there is told what changes');
  t.like(ben.payments.at(-1), { transfer_id: 'TR_1', seq: 2 });
  t.true(ben.cursors.every((cursor, i) => i === 0 || cursor > ben.cursors[i - 1]!));
  const order = ben.frames.flatMap((f) =>
    f.type === 'payment.updated' ? [f.payment.state] : f.type === 'message.created' ? ['message'] : [],
  );
  t.deepEqual(order, ['message', 'pending', 'message', 'accepted'], 'in the order of the conversation');

  const back = await Payee.up(at, tablet.device.session);
  t.deepEqual(back.states(request), ['pending', 'accepted'], 'a device that was away gets all of it');
  await env.settle();
  const listed = await api.ask('payments.list', { id: conversation_id, token: ben.device.session.access_token });
  t.deepEqual(listed.data.items, [ben.payments.at(-1)!]);
  t.deepEqual(
    (await events(env, request)).map(({ data }) => data),
    [
      { request_id: request, state: 'pending' },
      { request_id: request, state: 'accepted', transfer_id: 'TR_1', conversation_id },
    ],
  );
  await Promise.all([anna, ben, back].map(({ device }) => device.close()));
});

test('[P03] late and backward events change nothing, and the payments service may name the conversation', async (t) => {
  const { anna, ben, conversation_id } = await couple(at);
  const request = id('PR');
  for (const [to, more] of [
    ['cancel', { conversation_id }],
    ['create', {}],
    ['expire', {}],
    ['accept', { transfer_id: 'T' }],
    ['decline', {}],
  ] as const)
    await send(at.apiUrl, change(to, request, more));
  await env.settle();
  await anna.send(ben, 'last');
  await until(() => ben.payloads.includes('last'));
  t.deepEqual(ben.states(request), ['canceled', 'accepted']);
  t.deepEqual(anna.states(request), ['canceled', 'accepted']);
  t.deepEqual(
    (await events(env, request)).map(({ data }) => data.state),
    ['canceled', 'accepted'],
  );
  const nowhere = id('PR');
  await send(at.apiUrl, change('create', nowhere, { conversation_id: uuid7() }));
  await env.settle();
  const rows = await env.db.query(
    'select applied_at is not null as applied from payment_events where request_id = $1',
    [nowhere],
  );
  t.deepEqual(rows, [{ applied: true }], 'a conversation that is not there holds up nobody');
  await Promise.all([anna, ben].map(({ device }) => device.close()));
});

test('[P03] a request that changes while it is attached to conversations ends in the same state everywhere', async (t) => {
  const couples = await Promise.all([couple(at), couple(at)]);
  const requests = Array.from({ length: 15 }, () => id('PR'));
  await Promise.all(
    requests.flatMap((request) => [
      send(at.apiUrl, change('accept', request)),
      ...couples.map(({ anna, conversation_id }) =>
        api.ask('payments.attach', {
          id: conversation_id,
          token: anna.device.session.access_token,
          body: { request_id: request },
        }),
      ),
      send(at.apiUrl, change('cancel', request)),
    ]),
  );
  await env.settle();
  for (const { anna, ben } of couples) {
    await anna.send(ben, 'last');
    await until(() => ben.payloads.includes('last'));
    for (const request of requests) {
      const ranks = ben.told(request).map(({ state }) => rankOf(state));
      t.is(ranks.at(-1), rankOf('accepted'));
      // Perhaps one of them twice, and never back.
      t.deepEqual(ranks, ranks.toSorted());
    }
    await Promise.all([anna, ben].map(({ device }) => device.close()));
  }
});

test('[P03] the transfer id is visible to the parties of the request and to nobody else who knows its id', async (t) => {
  const { anna, ben, conversation_id } = await couple(at);
  const { anna: eve, ben: bob, conversation_id: elsewhere } = await couple(at);
  const [early, late, named] = [id('PR'), id('PR'), id('PR')];
  const put = async (who: Payee, where: string, request_id: string) => {
    const token = who.device.session.access_token;
    return (await api.ask('payments.attach', { id: where, token, body: { request_id } })).data;
  };
  await put(anna, conversation_id, early);
  await put(eve, elsewhere, early);
  for (const request of [early, late]) await send(at.apiUrl, change('accept', request, { transfer_id: 'TR_9' }));
  await send(at.apiUrl, change('accept', named, { transfer_id: 'TR_9', conversation_id }));
  await env.settle();
  t.like(await put(anna, conversation_id, early), { state: 'accepted', transfer_id: 'TR_9' });
  for (const request of [early, late, named]) {
    const told = await put(eve, elsewhere, request);
    t.deepEqual([told.state, told.transfer_id], ['accepted', undefined], 'who is no party learns the state alone');
  }
  await until(() => ben.states(named).length === 1);
  t.is(ben.payments.at(-1)!.transfer_id, 'TR_9', 'the payments service named the conversation');
  const { conversation_id: third } = await eve.send(ben, 'hello');
  await env.settle();
  t.is((await put(ben, third, named)).transfer_id, 'TR_9', 'a party hands it on');
  const seen = eve.payments.filter(({ conversation_id: where }) => where === elsewhere);
  t.false(JSON.stringify(seen).includes('TR_9'));
  const listed = await api.ask('payments.list', { id: elsewhere, token: eve.device.session.access_token });
  t.is(listed.data.items.length, 3);
  t.false(JSON.stringify(listed.data).includes('TR_9'));
  await Promise.all([anna, ben, eve, bob].map(({ device }) => device.close()));
});

test('[P03] only members attach a request to a conversation, and only they see it', async (t) => {
  const { anna, ben, conversation_id } = await couple(at);
  const stranger = await api.register();
  const body = { request_id: id('PR') };
  t.is(
    (await api.ask('payments.attach', { id: conversation_id, token: stranger.access_token, body })).error?.code,
    'not_found',
  );
  t.is(
    (await api.ask('payments.attach', { id: uuid7(), token: stranger.access_token, body })).error?.code,
    'not_found',
  );
  t.is(
    (await api.ask('payments.list', { id: conversation_id, token: stranger.access_token })).error?.code,
    'not_found',
  );
  for (const request_id of ['', 'two words', 'x'.repeat(129), 7])
    t.is(
      (
        await api.ask('payments.attach', {
          id: conversation_id,
          token: anna.device.session.access_token,
          body: { request_id },
        })
      ).error?.code,
      'invalid_request',
    );
  t.deepEqual(await env.db.query('select 1 from payment_attachments where request_id = $1', [body.request_id]), []);
  await Promise.all([anna, ben].map(({ device }) => device.close()));
});

test('[P02] an event sent 100 times simultaneously, and again after all caches are gone, has one effect', async (t) => {
  const { anna, ben, conversation_id } = await couple(at);
  const request = id('PR');
  const event = change('accept', request, { transfer_id: 'T', conversation_id }, id('evt'));
  const answers = await Promise.all(Array.from({ length: 100 }, () => send(at.apiUrl, event)));
  t.true(answers.every(({ status }) => status === 202));
  t.is(answers.filter(({ data }) => !data.duplicate).length, 1);
  await env.settle();
  t.true((await send(at.apiUrl, event)).data.duplicate, 'Postgres knows it for ever');
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
  t.deepEqual(ben.states(request), ['accepted']);
  t.is((await events(env, request)).length, 1);
  const [{ n }] = (await env.db.query<{ n: number }>('select count(*) as n from payment_events where request_id = $1', [
    request,
  ])) as [{ n: number }];
  t.is(n, 1);
  await Promise.all([anna, ben].map(({ device }) => device.close()));
});

test('[P02] an event without an id is identified by its content', async (t) => {
  const request = id('PR');
  t.false((await send(at.apiUrl, change('create', request))).data.duplicate);
  t.true((await send(at.apiUrl, change('create', request))).data.duplicate, 'sent again with another time');
  t.false((await send(at.apiUrl, change('create', request, { note: 'other' }))).data.duplicate);
});

test('[P03] operators list events and replay one', async (t) => {
  const { anna, ben, conversation_id } = await couple(at);
  const request = id('PR');
  const token = adminToken(env.config);
  await send(at.apiUrl, change('accept', request, { conversation_id, transfer_id: 'T' }, 'evt_listed'));
  await until(() => ben.states(request).length === 1);
  await env.settle();
  const { data } = await api.ask('payments.events.list', { token, query: { request_id: request } });
  t.is(data.items.length, 1);
  const [event] = data.items;
  t.like(event, {
    event_id: 'evt_listed',
    type: 'requests.accept',
    request_id: request,
    transfer_id: 'T',
    state: 'accepted',
    conversation_ids: [conversation_id],
  });
  t.truthy(event!.applied_at);
  t.is((await api.ask('payments.events.replay', { token, id: event!.id })).status, 202);
  await until(() => ben.states(request).length === 2 && anna.states(request).length === 2);
  t.deepEqual(ben.states(request), ['accepted', 'accepted']);
  const all: string[] = [];
  for (let cursor: string | null = ''; cursor !== null; ) {
    const page: Got<{ items: PaymentEvent[]; next_cursor: string | null }> = await api.ask('payments.events.list', {
      token,
      query: { limit: 3, ...(cursor && { cursor }) },
    });
    all.push(...page.data.items.map((one) => one.id));
    cursor = page.data.next_cursor;
  }
  t.deepEqual(all, [...new Set(all)].sort().reverse());
  t.deepEqual(
    (await api.ask('payments.events.list', { token, query: { applied: 'false', request_id: request } })).data.items,
    [],
  );
  t.is((await api.ask('payments.events.replay', { token, id: uuid7() })).error?.code, 'not_found');
  for (const wrong of [undefined, anna.device.session.access_token, 'swt_wrong'])
    t.is((await api.ask('payments.events.list', wrong ? { token: wrong } : {})).error?.code, 'unauthenticated');
  await Promise.all([anna, ben].map(({ device }) => device.close()));
});
