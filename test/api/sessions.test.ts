/** Sessions end everywhere at once: over HTTP, on sockets of every edge, also of one that was cut off. */
import test from 'ava';
import { Session } from '../../client/index.ts';
import { openTokens } from '../../shared/auth/tokens.ts';
import { readConfig } from '../../shared/config/index.ts';
import type { LoggedIn } from '../../shared/contract/http/auth.ts';
import { type Addresses, type Env, startEnv } from '../env/index.ts';
import { TestSocket } from '../env/people.ts';
import { until } from '../env/until.ts';
import { Api, QUICK_HASHING } from './http.ts';

let env: Env;
let api: Api;
let at: Addresses;
test.before(async () => {
  // Polling is off: what is seen here came by the event, or by the look after a reconnection. How soon: bench/login.ts.
  env = await startEnv({ ...QUICK_HASHING, REVOCATION_POLL_MS: 3_600_000 });
  at = await env.start('ingest', 'fanout', 'history', 'api', 'edge');
  api = new Api(at.apiUrl);
});
test.after.always(() => env.stop());

const logInAgain = async (person: LoggedIn, device?: object): Promise<LoggedIn> =>
  (await api.logIn(person, device)).data;
const open = (who: LoggedIn, edge: Pick<Addresses, 'edgeUrl'> = at): Promise<TestSocket> =>
  TestSocket.open(edge, new Session({ api: api.url, ...who }));
const works = async ({ access_token }: LoggedIn): Promise<number> =>
  (await api.ask('accounts.get', { token: access_token })).status;

test('[A06] logging out refuses the tokens and closes the socket of this device only', async (t) => {
  const phone = await api.register();
  const tablet = await logInAgain(phone);
  const [one, two] = [await open(phone), await open(tablet)];
  const { data } = await api.ask('sessions.logout', { token: phone.access_token });
  t.is(data.revoked, 1);
  t.is(await one.waitForClose(), 4401);
  t.is(await works(phone), 401);
  t.is(
    (await api.ask('auth.refresh', { body: { refresh_token: phone.refresh_token } })).error?.code,
    'unauthenticated',
  );
  t.is(two.closeCode, undefined);
  t.is(await works(tablet), 200);
  const back = new TestSocket(`${at.edgeUrl}/v1/ws`, { authorization: `Bearer ${phone.access_token}` });
  t.is(await back.waitForClose(), 1006);
  two.socket.terminate();
});

test('[A06] logging out everywhere ends every session in every API process', async (t) => {
  const other = await env.spawn(['api', 'edge']);
  const phone = await api.register();
  const tablet = await logInAgain(phone);
  const sockets = [await open(phone), await open(tablet, other)];
  const elsewhere = new Api(other.apiUrl);
  t.is((await elsewhere.ask('accounts.get', { token: tablet.access_token })).status, 200);
  t.is((await api.ask('sessions.logoutAll', { token: phone.access_token })).data.revoked, 2);
  for (const socket of sockets) t.is(await socket.waitForClose(), 4401);
  t.is(await works(tablet), 401);
  t.is((await elsewhere.ask('accounts.get', { token: tablet.access_token })).error?.code, 'unauthenticated');
  await other.stop();
});

test('[A07] a person lists the sessions with device, address and time, and ends one or all others', async (t) => {
  const phone = await api.register();
  const tablet = await logInAgain(phone, { name: 'tablet', platform: 'android' });
  const laptop = await logInAgain(phone, { name: 'laptop' });
  const list = await api.ask('sessions.list', { token: phone.access_token });
  t.deepEqual(
    list.data.items.map(({ device, current, ip }) => [device.name, device.platform, current, ip]),
    [
      ['laptop', 'unknown', false, '127.0.0.1'],
      ['tablet', 'android', false, '127.0.0.1'],
      ['phone', 'unknown', true, '127.0.0.1'],
    ],
  );
  const page = await api.ask('sessions.list', { token: phone.access_token, query: { limit: 2 } });
  const rest = await api.ask('sessions.list', {
    token: phone.access_token,
    query: { limit: 2, cursor: page.data.next_cursor! },
  });
  t.deepEqual([...page.data.items, ...rest.data.items], list.data.items);
  t.is(rest.data.next_cursor, null);

  const socket = await open(laptop);
  t.is((await api.ask('sessions.end', { id: list.data.items[0]!.id, token: phone.access_token })).data.revoked, 1);
  t.is(await socket.waitForClose(), 4401);
  t.is(await works(laptop), 401);
  const twice = await api.ask('sessions.end', { id: list.data.items[0]!.id, token: phone.access_token });
  t.is(twice.error?.code, 'not_found');

  const stranger = await api.register();
  const [theirs] = (await api.ask('sessions.list', { token: stranger.access_token })).data.items;
  t.is((await api.ask('sessions.end', { id: theirs!.id, token: phone.access_token })).error?.code, 'not_found');
  t.is(await works(stranger), 200);

  t.is((await api.ask('sessions.endOthers', { token: phone.access_token })).data.revoked, 1);
  t.is(await works(tablet), 401);
  t.is(await works(phone), 200);
});

test('[A06] reusing a stolen refresh token closes the socket too', async (t) => {
  const phone = await api.register();
  const socket = await open(phone);
  await api.ask('auth.refresh', { body: { refresh_token: phone.refresh_token } });
  await env.db.query(
    `update refresh_tokens r set used_at = used_at - interval '1 minute' from sessions s
     where s.id = r.session_id and s.device_id = $1`,
    [phone.device.id],
  );
  await api.ask('auth.refresh', { body: { refresh_token: phone.refresh_token } });
  t.is(await socket.waitForClose(), 4401);
});

test('[A06] a hundred simultaneous log-outs end one session once', async (t) => {
  const phone = await api.register();
  const all = await Promise.all(
    Array.from({ length: 100 }, () => api.ask('sessions.logout', { token: phone.access_token })),
  );
  t.is(
    all.filter(({ status, error }) => status === 200 && !error).reduce((sum, one) => sum + one.data.revoked, 0),
    1,
  );
  t.true(all.every(({ status }) => status === 200 || status === 401));
});

test('[A06] a device that logs in again ends its previous session and closes its socket', async (t) => {
  const phone = await api.register();
  const socket = await open(phone);
  const next = await logInAgain(phone, { id: phone.device.id });
  t.is(await socket.waitForClose(), 4401);
  t.is(await works(phone), 401);
  t.is(await works(next), 200);
});

test.serial(
  '[A06] sessions that end while an edge is cut off from NATS are closed, at the latest when it reconnects',
  async (t) => {
    const { REVOCATION_POLL_MS } = readConfig({});
    t.true(REVOCATION_POLL_MS < 1_000);
    const asking = await env.spawn(['api', 'edge'], { REVOCATION_POLL_MS });
    const phone = await api.register();
    const tablet = await logInAgain(phone);
    const [deaf, asks] = [await open(phone), await open(tablet, asking)];
    await env.broker.kill9();
    // The event of this never comes: nobody can publish it.
    await env.db.query('update sessions set revoked_at = now() where user_id = $1', [phone.user.id]);
    t.is(await asks.waitForClose(), 4401, 'while the broker is still away');
    await until(
      async () => (await new Api(asking.apiUrl).ask('accounts.get', { token: tablet.access_token })).status === 401,
    );
    t.is(deaf.closeCode, undefined);
    await env.broker.restart();
    t.is(await deaf.waitForClose(), 4401);
    await until(async () => (await works(phone)) === 401);
    await asking.stop();
  },
);

test('[A13] a ticket is valid once, for a short time, and only while its session lasts', async (t) => {
  const person = await api.register();
  const other = await api.register();
  const ask = async ({ access_token }: LoggedIn) =>
    (await api.ask('auth.tickets.create', { token: access_token })).data.ticket;
  const tokens = openTokens(env.db, env.config);
  const [a, b] = [await ask(person), await ask(other)];
  const [one, none, two, twice] = await tokens.takeTickets([a, 'made-up', b, a]);
  t.is(one?.device_id, person.device.id);
  t.is(two?.user_id, other.user.id);
  t.is(none, undefined);
  t.is(twice, undefined);
  t.deepEqual(await tokens.takeTickets([a, b]), [undefined, undefined]);

  const late = await ask(person);
  await env.db.query(`update ws_tickets set expires_at = now() - interval '1 second' where device_id = $1`, [
    person.device.id,
  ]);
  t.deepEqual(await tokens.takeTickets([late]), [undefined]);

  const revoked = await ask(person);
  await env.db.query('update sessions set revoked_at = now() where device_id = $1', [person.device.id]);
  t.deepEqual(await tokens.takeTickets([revoked]), [undefined]);
});

test('[A13] of a hundred simultaneous uses of one ticket one succeeds', async (t) => {
  const { access_token } = await api.register();
  const { ticket } = (await api.ask('auth.tickets.create', { token: access_token })).data;
  const tokens = openTokens(env.db, env.config);
  const all = await Promise.all(Array.from({ length: 100 }, () => tokens.takeTickets([ticket])));
  t.is(all.filter(([identity]) => identity).length, 1);
});
