import test from 'ava';
import type { LoggedIn } from '../../shared/contract/http/auth.ts';
import { directConversationId, uuid7 } from '../../shared/ids.ts';
import { type Env, startEnv } from '../env/index.ts';
import { Api, QUICK_HASHING } from './http.ts';

let env: Env;
let api: Api;
test.before(async () => {
  env = await startEnv({ ...QUICK_HASHING, GROUP_MAX_MEMBERS: 5, MESSAGE_MAX_BYTES: 1024 });
  api = new Api((await env.start('history', 'fanout', 'api')).apiUrl);
  await env.start('ingest');
});
test.after.always(() => env.stop());

const people = (count: number): Promise<LoggedIn[]> => Promise.all(Array.from({ length: count }, () => api.register()));
const direct = (me: LoggedIn, body: object) => api.ask('conversations.createDirect', { token: me.access_token, body });
const send = (me: LoggedIn, id: string, more: object = {}) =>
  api.ask('messages.send', {
    token: me.access_token,
    id,
    body: { client_message_id: uuid7(), payload: 'c2VhbGVk', ...more },
  });
const history = (me: LoggedIn, id: string, query: Record<string, string | number> = {}) =>
  api.ask('messages.list', { token: me.access_token, id, query });
const itemsOf = async (me: LoggedIn, id: string, query: Record<string, string | number> = {}) => {
  const { data } = await history(me, id, query);
  if (!('items' in data)) throw new Error('a page by number');
  return data;
};

test('[C01] a direct conversation is created once, under whichever identifier, and is the same for both people', async (t) => {
  const [alice] = await people(1);
  const bob = await api.register({ email: 'bob@example.org', phone: '+15550100777' });
  const made = await direct(alice!, { number: bob.user.number });
  t.is(made.status, 201);
  t.is(made.data.type, 'direct');
  t.is(made.data.members_count, 2);
  for (const body of [{ user_id: bob.user.id }, { email: 'BOB@example.org' }, { phone: '+1 555 010 0777' }]) {
    const again = await direct(alice!, body);
    t.is(again.status, 200);
    t.is(again.data.id, made.data.id);
  }
  t.is((await direct(bob, { user_id: alice!.user.id })).data.id, made.data.id);
  const list = await api.ask('conversations.list', { token: bob.access_token });
  t.deepEqual(
    list.data.items.map((one) => one.id),
    [made.data.id],
  );
});

test('[C01] twenty simultaneous calls from both sides create one conversation', async (t) => {
  const [alice, bob] = (await people(2)) as [LoggedIn, LoggedIn];
  const id = directConversationId(alice.user.id, bob.user.id);
  const all = await Promise.all(
    Array.from({ length: 20 }, (_, i) =>
      i % 2 ? direct(alice, { user_id: bob.user.id }) : direct(bob, { user_id: alice.user.id }),
    ),
  );
  t.deepEqual([...new Set(all.map((one) => one.data.id))], [id]);
  t.is(all.filter((one) => one.status === 201).length, 1);
});

test('[C02] a group is created with its members, and the same idempotency key returns the same group', async (t) => {
  const [alice, bob, carol, dave] = (await people(4)) as [LoggedIn, LoggedIn, LoggedIn, LoggedIn];
  const ask = {
    token: alice.access_token,
    body: { type: 'group', name: 'Team', member_ids: [bob.user.id, carol.user.id, alice.user.id, bob.user.id] },
    headers: { 'idempotency-key': 'once' },
  };
  const made = await api.ask('conversations.create', ask);
  t.is(made.status, 201);
  t.like(made.data, { type: 'group', name: 'Team', role: 'owner', members_count: 3, last_seq: 0 });
  const again = await api.ask('conversations.create', ask);
  t.is(again.status, 200);
  t.is(again.data.id, made.data.id);
  t.not((await api.ask('conversations.create', { ...ask, headers: {} })).data.id, made.data.id);

  const id = made.data.id;
  const first = await api.ask('conversations.members.list', { id, token: bob.access_token, query: { limit: 2 } });
  const rest = await api.ask('conversations.members.list', {
    id,
    token: bob.access_token,
    query: { limit: 2, cursor: first.data.next_cursor! },
  });
  const roles = [...first.data.items, ...rest.data.items].map((one) => [one.user_id, one.role]);
  t.deepEqual(
    roles,
    [[alice.user.id, 'owner'], ...[bob.user.id, carol.user.id].sort().map((user) => [user, 'member'])].sort(
      ([a], [b]) => (a! < b! ? -1 : 1),
    ),
  );
  for (const name of ['conversations.get', 'conversations.members.list', 'messages.list'] as const) {
    t.is((await api.ask(name, { id, token: dave.access_token })).error?.code, 'not_found', name);
    t.is((await api.ask(name, { id: uuid7(), token: dave.access_token })).error?.code, 'not_found', name);
  }
  t.is((await send(dave, id)).error?.code, 'not_found');
});

test('[C02] a person who has left a group cannot see its current members', async (t) => {
  const [alice, bob] = (await people(2)) as [LoggedIn, LoggedIn];
  const body = { type: 'group' as const, member_ids: [bob.user.id] };
  const { id } = (await api.ask('conversations.create', { token: alice.access_token, body })).data;
  t.is((await api.ask('conversations.members.list', { id, token: bob.access_token })).status, 200);
  await env.db.query('update members set left_seq = 0 where conversation_id = $1 and user_id = $2', [id, bob.user.id]);
  t.is((await api.ask('conversations.members.list', { id, token: bob.access_token })).error?.code, 'not_member');
  t.is((await api.ask('messages.list', { id, token: bob.access_token })).status, 200, 'what was said until then');
});

test('[M01] a message is queued with its seq, and its payload is returned byte for byte', async (t) => {
  const [alice, bob] = (await people(2)) as [LoggedIn, LoggedIn];
  const { id } = (await direct(alice, { user_id: bob.user.id })).data;
  const payloads = ['c2VhbGVk', '"\\/\u2028é😀\ud83d\ude00 \t\n', 'x'.repeat(1024)];
  for (const [at, payload] of payloads.entries()) {
    const { status, data } = await send(alice, id, { payload });
    t.is(status, 202);
    t.like(data, { seq: at + 1, status: 'queued' });
  }
  await env.settle();
  const { items } = await itemsOf(bob, id, { after_seq: 0 });
  t.deepEqual(
    items.map((one) => one.payload),
    payloads,
  );
  t.is(items[0]!.sender_device_id, alice.device.id);
  const seen = await api.ask('conversations.get', { id, token: bob.access_token });
  t.like(seen.data, { last_seq: 3, unread_count: 3 });
  t.is((await api.ask('messages.markRead', { id, token: bob.access_token, body: { seq: 2 } })).status, 200);
  await env.settle();
  const read = await api.ask('conversations.get', { id, token: bob.access_token });
  t.like(read.data, { read_seq: 2, unread_count: 1 });
  t.is(
    (await api.ask('messages.markRead', { id, token: bob.access_token, body: { seq: 9 } })).error?.code,
    'invalid_request',
  );
});

test('[M01] a message that is too large, empty, sealed in two ways or sealed for foreign devices is refused', async (t) => {
  const [alice, bob, carol] = (await people(3)) as [LoggedIn, LoggedIn, LoggedIn];
  const { id } = (await direct(alice, { user_id: bob.user.id })).data;
  const envelope = (who: LoggedIn) => ({ device_id: who.device.id, payload: 'x' });
  const cases: [object, string][] = [
    [{ payload: 'x'.repeat(1025) }, 'too_large'],
    [{ payload: 'é'.repeat(513) }, 'too_large'],
    [{ payload: '' }, 'invalid_request'],
    [{ payload: undefined }, 'invalid_request'],
    [{ payload: 'a\0' }, 'invalid_request'],
    [{ payload: '\ud800' }, 'invalid_request'],
    [{ envelopes: [envelope(bob)] }, 'invalid_request'],
    [{ payload: undefined, envelopes: [envelope(bob), envelope(bob)] }, 'invalid_request'],
    [{ payload: undefined, envelopes: [envelope(carol)] }, 'device_mismatch'],
    [{ payload: undefined, envelopes: [{ ...envelope(bob), payload: 'x'.repeat(1025) }] }, 'too_large'],
    [{ client_message_id: '' }, 'invalid_request'],
    [{ sender_id: bob.user.id }, 'invalid_request'],
  ];
  for (const [more, code] of cases)
    t.is((await send(alice, id, more)).error?.code, code as never, JSON.stringify(more).slice(0, 60));
  t.is((await send(alice, uuid7())).error?.code, 'not_found');
});

test.serial(
  '[M03] the same client_message_id is one message: simultaneously, later and after a restart of ingest',
  async (t) => {
    const [alice, bob] = (await people(2)) as [LoggedIn, LoggedIn];
    const { id } = (await direct(alice, { user_id: bob.user.id })).data;
    const client_message_id = uuid7();
    const all = await Promise.all(Array.from({ length: 20 }, () => send(alice, id, { client_message_id })));
    t.deepEqual(all.map((one) => one.status).sort(), [...Array(19).fill(200), 202]);
    t.is(new Set(all.map((one) => one.data.message_id)).size, 1);
    await env.settle();
    const later = await send(alice, id, { client_message_id });
    t.is(later.status, 200);
    t.deepEqual(later.data, all[0]!.data);
    t.is((await send(bob, id, { client_message_id })).status, 202, 'the same id of another sender is another message');

    await env.close('ingest');
    await env.start('ingest');
    const afterwards = await send(alice, id, { client_message_id });
    t.is(afterwards.status, 200);
    t.deepEqual(afterwards.data, all[0]!.data);
    t.is((await send(alice, id)).data.seq, 3);
  },
);

test('[H01] history is paged by seq in both directions, and by page number with totals', async (t) => {
  const [alice, bob] = (await people(2)) as [LoggedIn, LoggedIn];
  const { id } = (await direct(alice, { user_id: bob.user.id })).data;
  for (let i = 1; i <= 7; i++) await send(alice, id, { payload: `m${i}` });
  await env.settle();
  const seqs = async (query: Record<string, string | number>) =>
    (await itemsOf(bob, id, query)).items.map((one) => one.seq);
  t.deepEqual(await seqs({}), [7, 6, 5, 4, 3, 2, 1]);
  t.deepEqual(await seqs({ after_seq: 0, limit: 3 }), [1, 2, 3]);
  t.deepEqual(await seqs({ before_seq: 3 }), [2, 1]);
  t.deepEqual(await seqs({ after_seq: 2, before_seq: 5 }), [3, 4]);
  t.deepEqual(await seqs({ after_seq: 7 }), []);

  for (const start of [{ after_seq: 0 }, { before_seq: 8 }]) {
    const walked: number[] = [];
    for (let query: Record<string, string | number> | undefined = start; query; ) {
      const { items, next_cursor } = await itemsOf(alice, id, { ...query, limit: 3 });
      walked.push(...items.map((one) => one.seq));
      query = next_cursor === null ? undefined : { cursor: next_cursor };
    }
    t.deepEqual(walked, 'after_seq' in start ? [1, 2, 3, 4, 5, 6, 7] : [7, 6, 5, 4, 3, 2, 1]);
  }
  const { data } = await history(bob, id, { page: 2, per_page: 3 });
  if (!('pages' in data)) throw new Error('not a page by number');
  t.deepEqual(
    { ...data, messages: data.messages.map((one) => one.seq) },
    { messages: [4, 3, 2], page: 2, per_page: 3, total: 7, pages: 3 },
  );
  t.is((await history(bob, id, { limit: 101 })).error?.code, 'invalid_request');
  t.is((await history(bob, id, { cursor: 'abc' })).error?.code, 'invalid_request');
});

test('[H01] a member sees history from joining to leaving, without expired messages, and only its own envelope', async (t) => {
  const [alice, bob, carol] = (await people(3)) as [LoggedIn, LoggedIn, LoggedIn];
  const made = await api.ask('conversations.create', {
    token: alice.access_token,
    body: { type: 'group', member_ids: [bob.user.id, carol.user.id] },
  });
  const { id } = made.data;
  for (let i = 1; i <= 5; i++) await send(alice, id, { payload: `m${i}` });
  await send(alice, id, { expires_in_sec: 3_600 });
  const envelopes = [bob, carol].map(({ device }) => ({ device_id: device.id, payload: `for ${device.id}` }));
  t.is((await send(alice, id, { payload: undefined, envelopes })).status, 202);
  await env.settle();
  // What later features write: joined late, left early, and time gone by.
  await env.db.query('update members set joined_seq = 2, left_seq = 4 where user_id = $1', [carol.user.id]);
  await env.db.query(`update messages set expires_at = now() where conversation_id = $1 and seq = 6`, [id]);
  const seqs = async (who: LoggedIn) => (await itemsOf(who, id, { after_seq: 0 })).items.map((one) => one.seq);
  t.deepEqual(await seqs(carol), [3, 4]);
  t.deepEqual(await seqs(bob), [1, 2, 3, 4, 5, 7]);
  const paged = await history(carol, id, { page: 1 });
  t.like(paged.data, { total: 2, pages: 1 });
  const last = async (who: LoggedIn) => (await itemsOf(who, id, { after_seq: 6 })).items[0]?.payload;
  t.is(await last(bob), `for ${bob.device.id}`);
  t.is(await last(alice), undefined);
  // A socket may bring escapes that Postgres can store and not decode: nobody's history may stumble over them.
  await env.db.query(`update messages set envelopes = $2 where conversation_id = $1 and seq = 7`, [
    id,
    `[{"device_id":"${bob.device.id}","payload":"a\\u0000\\ud800"}]`,
  ]);
  t.is(await last(bob), 'a\0\ud800');
});
