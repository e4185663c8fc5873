/** A new password, and the end of an account. */
import { jetstreamManager } from '@nats-io/jetstream';
import test from 'ava';
import { Session } from '../../client/index.ts';
import { consumer, inboxStream } from '../../nats/topology.ts';
import { emptyRows } from '../../services/history/projections.ts';
import { writeRows } from '../../services/history/store.ts';
import type { LoggedIn } from '../../shared/contract/http/auth.ts';
import { shardOf, uuid7 } from '../../shared/ids.ts';
import { type Addresses, type Env, startEnv } from '../env/index.ts';
import { PASSWORD, TestDevice, TestSocket } from '../env/people.ts';
import { until } from '../env/until.ts';
import { Api, QUICK_HASHING } from './http.ts';

let env: Env;
let api: Api;
let at: Addresses;
test.before(async () => {
  env = await startEnv({ ...QUICK_HASHING, AWAY_GRACE_MS: 50, OTP_DEV_CODE: '123456' });
  at = await env.start('ingest', 'fanout', 'history', 'api', 'edge');
  api = new Api(at.apiUrl);
});
test.after.always(() => env.stop());

const password = PASSWORD;
const login = (identifier: string, pw: string) =>
  api.ask('auth.login', { body: { identifier, password: pw, device: { name: 'tablet' } } });
const session = (who: LoggedIn): Session => new Session({ api: api.url, ...who });

test('[A11] changing the password needs the old one and ends all other sessions', async (t) => {
  const me = await api.register();
  const tablet = (await login(me.user.number, password)).data;
  const socket = await TestSocket.open(at, session(tablet));
  const change = (old_password: string, new_password = 'battery staple') =>
    api.ask('auth.changePassword', { token: me.access_token, body: { old_password, new_password } });
  t.is((await change('wrong horse')).error?.code, 'forbidden');
  t.is((await change(password, 'short')).error?.code, 'invalid_request');
  t.is((await change(password)).data.revoked, 1);
  t.is(await socket.waitForClose(), 4401);
  t.is((await api.ask('accounts.get', { token: tablet.access_token })).status, 401);
  t.is((await api.ask('auth.refresh', { body: { refresh_token: me.refresh_token } })).status, 200);
  t.is((await login(me.user.number, password)).error?.code, 'unauthenticated');
  t.is((await login(me.user.number, 'battery staple')).status, 200);
});

test('[A11] of a hundred simultaneous password changes one succeeds, and the guessing is locked out', async (t) => {
  const me = await api.register();
  const all = await Promise.all(
    Array.from({ length: 100 }, (_, i) =>
      api.ask('auth.changePassword', {
        token: me.access_token,
        body: { old_password: password, new_password: `battery staple ${i}` },
      }),
    ),
  );
  const won = all.flatMap(({ status }, i) => (status === 200 ? [i] : []));
  t.is(won.length, 1);
  t.true(
    all.every(({ status, error }) => status === 200 || ['conflict', 'forbidden', 'rate_limited'].includes(error!.code)),
  );
  t.is((await login(me.user.number, `battery staple ${won[0]}`)).status, 200);
});

test('[A11] a person who registered by code sets a first password without an old one', async (t) => {
  const email = 'first.password@example.org';
  await api.ask('auth.otp.request', { body: { email } });
  const { data } = await api.ask('auth.otp.verify', { body: { email, code: '123456', device: { name: 'phone' } } });
  const body = { new_password: 'battery staple' };
  t.is((await api.ask('auth.changePassword', { token: data.access_token, body })).status, 200);
  t.is((await login(email, 'battery staple')).status, 200);
  t.is((await api.ask('auth.changePassword', { token: data.access_token, body })).error?.code, 'forbidden');
});

test('[A11] deleting the account removes devices, inbox, keys and names at once, and the contents of its messages', async (t) => {
  const names = { email: 'leaver@example.org', username: 'leaver', name: 'Leaver' };
  const me = await api.register({ ...names, keys: { identity_key: 'S0VZ' } });
  const friend = await api.register();
  const [phone, theirs] = [new TestDevice(session(me), at.edgeUrl), new TestDevice(session(friend), at.edgeUrl)];
  await Promise.all([phone.connect(), theirs.connect()]);
  const { conversation_id } = await phone.send(theirs, 'from who leaves');
  await theirs.send(phone, 'to who leaves');
  await phone.device.close();
  await theirs.send(phone, 'waits in the inbox');
  await env.settle();
  const js = await jetstreamManager(await env.nats('admin'));
  const stream = inboxStream(shardOf(me.user.id, env.config.INBOX_SHARDS));
  const waiting = async (): Promise<number> => {
    const { state } = await js.streams.info(stream, { subjects_filter: `inbox.*.${me.user.id}.>` });
    return Object.keys(state.subjects ?? {}).length;
  };
  const durable = () =>
    js.consumers.info(stream, consumer.device(me.device.id)).then(
      () => true,
      () => false,
    );
  await until(durable);
  t.true((await waiting()) > 0);
  const token = me.access_token;
  const push = { provider: 'unifiedpush' as const, endpoint: 'https://push.example.org/leaver' };
  t.is((await api.ask('push.targets.put', { id: me.device.id, token, body: push })).status, 200);
  t.is((await api.ask('keys.backup.put', { token, body: { data: 'c2VhbGVk' } })).status, 200);
  t.true(
    (await api.ask('payments.attach', { id: conversation_id, token, body: { request_id: 'leaver-owes' } })).status <
      300,
  );
  const socket = await TestSocket.open(at, session(me));

  t.is(
    (await api.ask('accounts.delete', { token: me.access_token, body: { password: 'wrong horse' } })).error?.code,
    'forbidden',
  );
  t.is((await api.ask('accounts.delete', { token: me.access_token, body: {} })).error?.code, 'forbidden');
  t.is((await api.ask('accounts.delete', { token: me.access_token, body: { password } })).status, 200);
  t.is(await socket.waitForClose(), 4401);
  t.is((await api.ask('accounts.get', { token: me.access_token })).status, 401);
  t.is((await api.ask('auth.refresh', { body: { refresh_token: me.refresh_token } })).status, 401);
  for (const identifier of ['leaver', names.email, me.user.number])
    t.is((await login(identifier, password)).error?.code, 'unauthenticated');
  t.is((await api.ask('devices.listOfUser', { id: me.user.id, token: friend.access_token })).error?.code, 'not_found');
  const direct = await api.ask('conversations.createDirect', {
    token: friend.access_token,
    body: { number: me.user.number },
  });
  t.is(direct.error?.code, 'not_found');

  await until(async () => (await waiting()) === 0 && !(await durable()));
  const history = async () => {
    const query = { after_seq: 0 };
    const { data } = await api.ask('messages.list', { id: conversation_id, token: friend.access_token, query });
    return 'items' in data ? data.items : [];
  };
  await until(async () => (await history()).some(({ deleted_at }) => deleted_at));
  t.deepEqual(
    (await history()).map(({ payload, deleted_at }) => [payload, deleted_at !== undefined]),
    [
      [undefined, true],
      ['to who leaves', false],
      ['waits in the inbox', false],
    ],
  );
  const rows = await env.db.query<{ row: string }>(
    `select u::text as row from users u where id = $1 union all select d::text from devices d where user_id = $1
     union all select i::text from identifiers i where user_id = $1`,
    [me.user.id],
  );
  for (const text of ['leaver', 'S0VZ', 'phone'])
    t.false(
      rows.some(({ row }) => row.includes(text)),
      text,
    );
  const left = await env.db.query(
    `select 'push' as what from push_states where device_id = $2 union all
     select 'backup' from key_backups where user_id = $1 union all
     select 'prekeys' from prekeys where device_id = $2 union all
     select 'payment' from payment_attachments where attached_by = $1`,
    [me.user.id, me.device.id],
  );
  t.deepEqual(left, []);
  const paid = await api.ask('payments.list', { id: conversation_id, token: friend.access_token });
  t.deepEqual(
    paid.data.items.map(({ request_id }) => request_id),
    ['leaver-owes'],
  );
  const next = await api.register({ ...names });
  t.not(next.user.id, me.user.id, 'the names are free again');
  await theirs.device.close();
});

test('[A11] data that could not be erased during the deletion is erased after a restart', async (t) => {
  const me = await api.register();
  const friend = await api.register();
  const sent = await api.ask('conversations.createDirect', {
    token: me.access_token,
    body: { user_id: friend.user.id },
  });
  const body = { client_message_id: 'last-words', payload: 'c2VhbGVk' };
  await api.ask('messages.send', { id: sent.data.id, token: me.access_token, body });
  await env.settle();
  // As if the process had been killed between the two.
  await env.db.query('update users set deleted_at = now() where id = $1', [me.user.id]);
  const other = await env.spawn('api');
  const left = () => env.db.query('select 1 from messages where sender_id = $1 and payload is not null', [me.user.id]);
  await until(async () => (await left()).length === 0);
  t.pass();
  await other.stop();
});

test('[A11] rows written by a request in flight during the deletion are erased, and finally the key log', async (t) => {
  const me = await api.register({ keys: { identity_key: 'S0VZ' } });
  await api.ask('accounts.delete', { token: me.access_token, body: { password } });
  const links = () => env.db.query('select told_at from key_log where user_id = $1', [me.user.id]);
  await until(async () => (await links()).every(({ told_at }) => told_at));
  t.is((await links()).length, 2);
  const [user, device] = [me.user.id, me.device.id];
  await env.db.query(`insert into key_backups (user_id, data, version) values ($1, 'c2VhbGVk', 1)`, [user]);
  await env.db.query('insert into push_states (device_id) values ($1)', [device]);
  await env.db.query('insert into device_presence (device_id, since) values ($1, now()) on conflict do nothing', [
    device,
  ]);
  await env.db.query(`update users set deleted_at = now() - interval '11 minutes' where id = $1`, [user]);
  const other = await env.spawn('api');
  await until(async () => {
    const [row] = await env.db.query<{ erased: boolean }>(
      'select erased_at is not null as erased from users where id = $1',
      [user],
    );
    return row!.erased;
  });
  const left = await env.db.query(
    `select 1 from key_backups where user_id = $1 union all select 1 from key_log where user_id = $1 union all
     select 1 from push_states where device_id = $2 union all select 1 from device_presence where device_id = $2`,
    [user, device],
  );
  t.deepEqual(left, []);
  await other.stop();
});

test('[A11] messages that history writes long after the deletion are erased', async (t) => {
  const me = await api.register();
  const friend = await api.register();
  const { data } = await api.ask('conversations.createDirect', {
    token: me.access_token,
    body: { user_id: friend.user.id },
  });
  await api.ask('accounts.delete', { token: me.access_token, body: { password } });
  await env.db.query(`update users set deleted_at = now() - interval '1 hour', erased_at = now() where id = $1`, [
    me.user.id,
  ]);
  // As history does that was away for an hour; the partition is nobody's.
  const about = {
    kind: 'message',
    conversation_id: data.id,
    seq: 1,
    user_id: me.user.id,
    device_id: me.device.id,
  } as const;
  const meta = { ...about, id: uuid7(), client_message_id: 'late', at: Date.now() - 3_700_000, gateway: '', tag: 0 };
  const rows = { ...emptyRows(), messages: [{ meta, body: Buffer.from('"c2VhbGVk"') }] };
  await writeRows(env.db, 99, { entry_seq: 0, stream: '' }, { entry_seq: 1, stream: '' }, rows);
  const other = await env.spawn('api');
  const left = () => env.db.query('select 1 from messages where sender_id = $1 and deleted_at is null', [me.user.id]);
  await until(async () => (await left()).length === 0);
  t.pass();
  await other.stop();
});
