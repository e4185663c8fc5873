/** What payment events do: requests, conversations, devices, webhooks' events; whatever comes twice, late or dies. */
import test from 'ava';
import { adminToken } from '../../shared/auth/derived.ts';
import { type PaymentEvent, rankOf } from '../../shared/contract/payments.ts';
import { uuid7 } from '../../shared/ids.ts';
import { Api, QUICK_HASHING, type Reply } from '../api/http.ts';
import { type Addresses, type Env, startEnv } from '../env/index.ts';
import { addDevice } from '../env/people.ts';
import { until } from '../env/until.ts';
import { paymentEvent, SECRET, sendEvent } from './fake-service.ts';
import { createId, PaymentDevice, readPaymentEvents, startConversation } from './people.ts';

let env: Env;
let at: Addresses;
let api: Api;

test.before(async () => {
  env = await startEnv({ ...QUICK_HASHING, PAYMENTS_WEBHOOK_SECRET: SECRET, AWAY_GRACE_MS: 100 });
  at = await env.start('events', 'payments-webhook', 'history', 'fanout', 'ingest', 'api', 'edge');
  api = new Api(at.apiUrl);
});
test.after.always(() => env?.stop());

test('[P03] both people get each step of a request in their conversation on every device, at once or later', async (t) => {
  const { anna, ben, conversation_id } = await startConversation(at);
  const tablet = await PaymentDevice.open(at, await addDevice(ben.device.session));
  await tablet.device.close();
  const request = createId('PR');
  await sendEvent(at.apiUrl, paymentEvent('create', request));
  await env.settle();
  const token = anna.device.session.access_token;
  const put = { id: conversation_id, token, body: { request_id: request } };
  const first = await api.ask('payments.attach', put);
  t.like(first, { status: 201, data: { request_id: request, conversation_id, state: 'pending', seq: 1 } });
  t.is((await api.ask('payments.attach', put)).status, 200, 'it was there');
  await anna.send(ben, 'there you are');
  t.is((await sendEvent(at.apiUrl, paymentEvent('accept', request, { transfer_id: 'TR_1' }))).status, 202);
  await until(() => ben.statesOf(request).length === 2 && anna.statesOf(request).length === 1);
  t.deepEqual(ben.statesOf(request), ['pending', 'accepted']);
  t.deepEqual(anna.statesOf(request), ['accepted'], 'who put it there is told what changes');
  t.like(ben.payments.at(-1), { transfer_id: 'TR_1', seq: 2 });
  t.true(ben.cursors.every((cursor, i) => i === 0 || cursor > ben.cursors[i - 1]!));
  const order = ben.frames.flatMap((f) =>
    f.type === 'payment.updated' ? [f.payment.state] : f.type === 'message.created' ? ['message'] : [],
  );
  t.deepEqual(order, ['message', 'pending', 'message', 'accepted'], 'in the order of the conversation');

  const back = await PaymentDevice.open(at, tablet.device.session);
  t.deepEqual(back.statesOf(request), ['pending', 'accepted'], 'a device that was away gets all of it');
  await env.settle();
  const listed = await api.ask('payments.list', { id: conversation_id, token: ben.device.session.access_token });
  t.deepEqual(listed.data.items, [ben.payments.at(-1)!]);
  t.deepEqual(
    (await readPaymentEvents(env, request)).map(({ data }) => data),
    [
      { request_id: request, state: 'pending' },
      { request_id: request, state: 'accepted', transfer_id: 'TR_1', conversation_id },
    ],
  );
  await Promise.all([anna, ben, back].map(({ device }) => device.close()));
});

test('[P03] late and backward events change nothing, and the payments service may name the conversation', async (t) => {
  const { anna, ben, conversation_id } = await startConversation(at);
  const request = createId('PR');
  for (const [to, more] of [
    ['cancel', { conversation_id }],
    ['create', {}],
    ['expire', {}],
    ['accept', { transfer_id: 'T' }],
    ['decline', {}],
  ] as const)
    await sendEvent(at.apiUrl, paymentEvent(to, request, more));
  await env.settle();
  await anna.send(ben, 'last');
  await until(() => ben.payloads.includes('last'));
  t.deepEqual(ben.statesOf(request), ['canceled', 'accepted']);
  t.deepEqual(anna.statesOf(request), ['canceled', 'accepted']);
  t.deepEqual(
    (await readPaymentEvents(env, request)).map(({ data }) => data.state),
    ['canceled', 'accepted'],
  );
  const nowhere = createId('PR');
  await sendEvent(at.apiUrl, paymentEvent('create', nowhere, { conversation_id: uuid7() }));
  await env.settle();
  const rows = await env.db.query(
    'select applied_at is not null as applied from payment_events where request_id = $1',
    [nowhere],
  );
  t.deepEqual(rows, [{ applied: true }], 'a conversation that is not there holds up nobody');
  await Promise.all([anna, ben].map(({ device }) => device.close()));
});

test('[P03] a request that changes while it is attached to conversations ends in the same state everywhere', async (t) => {
  const couples = await Promise.all([startConversation(at), startConversation(at)]);
  const requests = Array.from({ length: 15 }, () => createId('PR'));
  await Promise.all(
    requests.flatMap((request) => [
      sendEvent(at.apiUrl, paymentEvent('accept', request)),
      ...couples.map(({ anna, conversation_id }) =>
        api.ask('payments.attach', {
          id: conversation_id,
          token: anna.device.session.access_token,
          body: { request_id: request },
        }),
      ),
      sendEvent(at.apiUrl, paymentEvent('cancel', request)),
    ]),
  );
  await env.settle();
  for (const { anna, ben } of couples) {
    await anna.send(ben, 'last');
    await until(() => ben.payloads.includes('last'));
    for (const request of requests) {
      const ranks = ben.paymentsOf(request).map(({ state }) => rankOf(state));
      t.is(ranks.at(-1), rankOf('accepted'));
      // Perhaps one of them twice, and never back.
      t.deepEqual(ranks, ranks.toSorted());
    }
    await Promise.all([anna, ben].map(({ device }) => device.close()));
  }
});

test('[P03] the transfer id is visible to the parties of the request and to nobody else who knows its id', async (t) => {
  const { anna, ben, conversation_id } = await startConversation(at);
  const { anna: eve, ben: bob, conversation_id: elsewhere } = await startConversation(at);
  const [early, late, named] = [createId('PR'), createId('PR'), createId('PR')];
  const put = async (who: PaymentDevice, where: string, request_id: string) => {
    const token = who.device.session.access_token;
    return (await api.ask('payments.attach', { id: where, token, body: { request_id } })).data;
  };
  await put(anna, conversation_id, early);
  await put(eve, elsewhere, early);
  for (const request of [early, late])
    await sendEvent(at.apiUrl, paymentEvent('accept', request, { transfer_id: 'TR_9' }));
  await sendEvent(at.apiUrl, paymentEvent('accept', named, { transfer_id: 'TR_9', conversation_id }));
  await env.settle();
  t.like(await put(anna, conversation_id, early), { state: 'accepted', transfer_id: 'TR_9' });
  for (const request of [early, late, named]) {
    const told = await put(eve, elsewhere, request);
    t.deepEqual([told.state, told.transfer_id], ['accepted', undefined], 'who is no party learns the state alone');
  }
  await until(() => ben.statesOf(named).length === 1);
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
  const { anna, ben, conversation_id } = await startConversation(at);
  const stranger = await api.register();
  const body = { request_id: createId('PR') };
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

test('[P03] operators list events and replay one', async (t) => {
  const { anna, ben, conversation_id } = await startConversation(at);
  const request = createId('PR');
  const token = adminToken(env.config);
  await sendEvent(at.apiUrl, paymentEvent('accept', request, { conversation_id, transfer_id: 'T' }, 'evt_listed'));
  await until(() => ben.statesOf(request).length === 1);
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
  await until(() => ben.statesOf(request).length === 2 && anna.statesOf(request).length === 2);
  t.deepEqual(ben.statesOf(request), ['accepted', 'accepted']);
  const all: string[] = [];
  for (let cursor: string | null = ''; cursor !== null; ) {
    const page: Reply<{ items: PaymentEvent[]; next_cursor: string | null }> = await api.ask('payments.events.list', {
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
