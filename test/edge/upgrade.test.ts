/** Before and right after the upgrade: who may connect, and what a connection is told first. */
import { request } from 'node:http';
import test from 'ava';
import { SignJWT } from 'jose';
import type { Session } from '../../client/index.ts';
import { openTokens } from '../../shared/auth/tokens.ts';
import { type Env, type Started, startEnv } from '../env/index.ts';
import { addDevice, issueTicket, registerPerson, TestSocket } from '../env/people.ts';
import { until } from '../env/until.ts';

let env: Env;
let at: Started;

test.before(async () => {
  env = await startEnv({
    WS_MAX_CONNECTIONS_PER_IP: 60,
    WS_MAX_EARLY_FRAMES: 5,
    WS_ALLOWED_ORIGINS: ['https://chat.example'],
  });
  at = await env.start('ingest', 'fanout', 'history', 'api', 'edge');
});
test.after.always(async () => {
  await env?.stop();
});

interface Answer {
  status: number;
  body: { error?: { code: string; message: string }; data?: unknown };
  protocol?: string | undefined;
}
/** Asks for an upgrade by hand, to see the reply as it is. */
function knock(path: string, headers: Record<string, string> = {}, url = at.edgeUrl): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const upgrade = { connection: 'Upgrade', upgrade: 'websocket', 'sec-websocket-version': '13' };
    const asked = request(`${url.replace('ws:', 'http:')}${path}`, {
      headers: { ...upgrade, 'sec-websocket-key': 'dGhlIHNhbXBsZSBub25jZQ==', ...headers },
    });
    asked.on('upgrade', (reply, socket) => {
      socket.destroy();
      resolve({ status: 101, body: {}, protocol: reply.headers['sec-websocket-protocol'] });
    });
    asked.on('response', async (reply) => {
      let text = '';
      for await (const chunk of reply) text += chunk;
      resolve({ status: reply.statusCode!, body: JSON.parse(text) });
    });
    asked.on('error', reject);
    asked.end();
  });
}
const bearer = ({ access_token }: Session): Record<string, string> => ({ authorization: `Bearer ${access_token}` });

test('[R01] a socket opens with a token in the header or a ticket in subprotocol or query, on both paths', async (t) => {
  const me = await registerPerson(at);
  t.is((await knock('/v1/ws', bearer(me))).status, 101);
  t.is((await knock('/ws', bearer(me))).status, 101);
  const offered = { 'sec-websocket-protocol': `sealwire.v1.json, ticket.${await issueTicket(me)}` };
  t.like(await knock('/v1/ws', offered), { status: 101, protocol: 'sealwire.v1.json' });
  t.is((await knock(`/v1/ws?ticket=${await issueTicket(me)}`)).status, 101);
});

/** A token of the system's own key, or of another one. */
async function signed(me: Session, kid: string | undefined, expires: string): Promise<string> {
  const own = await openTokens(env.db, env.config).keys.signingKey();
  return await new SignJWT({ did: me.device.id, sid: me.device.id })
    .setProtectedHeader({ alg: 'EdDSA', typ: 'at+jwt', kid: kid ?? own.kid })
    .setSubject(me.user.id)
    .setIssuer('sealwire')
    .setAudience('sealwire')
    .setExpirationTime(expires)
    .sign(own.key);
}
/** Connects and waits for the welcome, or for the code with which the socket is closed instead. */
async function outcome(path: string, headers: Record<string, string> = {}, protocols: string[] = []): Promise<string> {
  const raw = new TestSocket(`${at.edgeUrl}${path}`, headers, protocols);
  await until(() => raw.frames.length > 0 || raw.closeCode !== undefined);
  raw.socket.terminate();
  return raw.frames.length ? String(raw.frames[0]!.type) : `${raw.closeCode} ${raw.closeReason}`;
}

test('[R01] [A13] a refusal that needs no look-up comes before the upgrade, with a reason', async (t) => {
  const me = await registerPerson(at);
  t.is(await outcome('/v1/ws', bearer(me)), 'connection.welcome');
  const none = await new SignJWT({ did: me.device.id, sid: me.device.id })
    .setProtectedHeader({ alg: 'HS256', typ: 'at+jwt' })
    .setSubject(me.user.id)
    .sign(new TextEncoder().encode('x'.repeat(32)));
  const refused: [number, string, string, Record<string, string>][] = [
    [401, 'unauthenticated', '/v1/ws', {}],
    [401, 'unauthenticated', '/v1/ws', { authorization: 'Bearer nonsense' }],
    [401, 'unauthenticated', '/v1/ws', { authorization: 'Basic eDp5' }],
    [401, 'unauthenticated', '/v1/ws', { authorization: `Bearer ${none}` }],
    [401, 'token_expired', '/v1/ws', { authorization: `Bearer ${await signed(me, undefined, '-1s')}` }],
    [401, 'unauthenticated', '/v1/ws', { authorization: `${bearer(me).authorization!.slice(0, -8)}AAAAAAAA` }],
    [401, 'unauthenticated', `/v1/ws?access_token=${me.access_token}`, {}],
    [401, 'unauthenticated', `/v1/ws?token=${me.access_token}`, {}],
    [400, 'invalid_request', '/v1/ws', { ...bearer(me), 'sec-websocket-protocol': 'sealwire.v9.xml' }],
    [403, 'forbidden', '/v1/ws', { ...bearer(me), origin: 'https://evil.example' }],
    [403, 'forbidden', '/v1/ws', { ...bearer(me), origin: 'null' }],
    [404, 'not_found', '/v2/ws', bearer(me)],
  ];
  for (const [status, code, path, headers] of refused) {
    const answer = await knock(path, headers);
    t.deepEqual([answer.status, answer.body.error?.code], [status, code], path);
  }
  t.is((await knock('/v1/ws', { ...bearer(me), origin: 'https://chat.example' })).status, 101);
});

test('[R01] [A13] a refusal that needs a look-up comes after the upgrade, with 4401 and a reason', async (t) => {
  const me = await registerPerson(at);
  const used = await issueTicket(me);
  t.is(await outcome(`/v1/ws?ticket=${used}`), 'connection.welcome');
  t.is(await outcome(`/v1/ws?ticket=${used}`), '4401 the ticket is unknown, used or expired');
  const offered = ['sealwire.v1.json', `ticket.${used}`];
  t.is(await outcome('/v1/ws', {}, offered), '4401 the ticket is unknown, used or expired');
  const unknown = { authorization: `Bearer ${await signed(me, 'nobody', '1h')}` };
  t.is(await outcome('/v1/ws', unknown), '4401 the access token is not valid');
  const stray = { authorization: `Bearer ${await signed(me, undefined, '1h')}` };
  t.is(await outcome('/v1/ws', stray), '4401 this session or device was revoked', 'a session that never was');
});

test('[R01] one ticket used simultaneously opens one socket', async (t) => {
  const me = await registerPerson(at);
  const one = await issueTicket(me);
  const answers = await Promise.all(Array.from({ length: 8 }, () => outcome(`/v1/ws?ticket=${one}`)));
  t.is(answers.filter((answer) => answer === 'connection.welcome').length, 1);
  t.is(answers.filter((answer) => answer.startsWith('4401 ')).length, 7);
});

test('[R01] revoked sessions and deleted devices are refused, and other devices of the person are not', async (t) => {
  const first = await registerPerson(at);
  const other = await addDevice(first);
  await env.db.query('update devices set deleted_at = now() where id = $1', [first.device.id]);
  t.regex(await outcome('/v1/ws', bearer(first)), /^4401 /);
  t.is(await outcome('/v1/ws', bearer(other)), 'connection.welcome');
  await env.db.query('update sessions set revoked_at = now() where device_id = $1', [other.device.id]);
  t.regex(await outcome('/v1/ws', bearer(other)), /^(4401|1006) /);
});

test.serial(
  '[R01] frames sent before the identity is known are answered later in order, and too many close the socket',
  async (t) => {
    const [patient, hasty] = [await registerPerson(at), await registerPerson(at)];
    await env.db.transaction(async ({ query }) => {
      await query('lock table sessions in access exclusive mode');
      const [one, other] = [patient, hasty].map((me) => new TestSocket(`${at.edgeUrl}/v1/ws`, bearer(me)));
      await until(() => one!.socket.readyState === 1 && other!.socket.readyState === 1);
      for (const id of ['a', 'b', 'c']) one!.send({ type: 'ping', id });
      for (let i = 0; i < 6; i++) other!.send({ type: 'ping' });
      t.is(await other!.waitForClose(), 4429);
      t.deepEqual(one!.frames, [], 'nothing is said before');
      // What the edge took before this answer came.
      await knock('/v2/ws');
      await query('rollback');
      await one!.waitFor('pong', 3);
      t.deepEqual(
        one!.framesOf('pong').map(({ id }) => id),
        ['a', 'b', 'c'],
      );
      t.deepEqual(other!.frames, []);
      one!.socket.terminate();
    });
  },
);

test.serial('[R03] sockets per address are counted on admission, also when they arrive simultaneously', async (t) => {
  const edge = await env.spawn('edge', { WS_MAX_CONNECTIONS_PER_IP: 10 });
  const people = await Promise.all(Array.from({ length: 30 }, () => registerPerson(at)));
  await TestSocket.open(edge, people[0]!).then((raw) => raw.socket.terminate());
  await env.db.transaction(async ({ query }) => {
    await query('lock table sessions in access exclusive mode');
    const sockets = people.map((me) => new TestSocket(`${edge.edgeUrl}/v1/ws`, bearer(me)));
    const open = () => sockets.filter(({ socket }) => socket.readyState === 1).length;
    const refused = () => sockets.filter(({ closeCode }) => closeCode === 1006).length;
    await until(() => open() + refused() === 30);
    t.true(open() <= 10 && open() >= 9, `${open()} are open`);
    for (const { socket } of sockets) socket.terminate();
  });
  await edge.stop();
});

test.serial('[R01] a socket is closed with 1013 while Postgres is down, and opens once it is back', async (t) => {
  const me = await registerPerson(at);
  const edge = await env.spawn('edge', { DATABASE_CONNECT_TIMEOUT_MS: 500 });
  await TestSocket.open(edge, me).then((raw) => raw.socket.terminate());
  await env.postgres.kill9();
  t.is(await new TestSocket(`${edge.edgeUrl}/v1/ws`, bearer(me)).waitForClose(), 1013);
  await env.postgres.restart();
  await until(async () => {
    const raw = new TestSocket(`${edge.edgeUrl}/v1/ws`, bearer(me));
    await until(() => raw.frames.length > 0 || raw.closeCode !== undefined);
    raw.socket.terminate();
    return raw.frames.length > 0;
  });
  await edge.stop();
});

test.serial('[R01] sockets that open twenty at a time are not cut off while opening', async (t) => {
  const people = await Promise.all(Array.from({ length: 20 }, () => registerPerson(at)));
  const codes: unknown[] = [];
  await Promise.all(
    people.map(async (me) => {
      for (let i = 0; i < 40; i++) {
        const raw = new TestSocket(`${at.edgeUrl}/v1/ws`, bearer(me));
        await until(() => raw.frames.length > 0 || raw.closeCode !== undefined);
        if (raw.closeCode !== undefined) codes.push(raw.closeCode);
        raw.socket.close();
        await raw.waitForClose();
      }
    }),
  );
  t.deepEqual(codes, []);
});

test('[R01] the query token works where enabled, and without a list browsers may come from the same host', async (t) => {
  const edge = await env.spawn('edge', { WS_ALLOW_QUERY_TOKEN: true, WS_ALLOWED_ORIGINS: [] });
  const me = await registerPerson(at);
  t.is((await knock(`/v1/ws?access_token=${me.access_token}`, {}, edge.edgeUrl)).status, 101);
  const host = new URL(edge.edgeUrl).host;
  t.is((await knock('/v1/ws', { ...bearer(me), origin: `http://${host}` }, edge.edgeUrl)).status, 101);
  t.is((await knock('/v1/ws', { ...bearer(me), origin: 'http://elsewhere.example' }, edge.edgeUrl)).status, 403);
  await edge.stop();
});

test('[R03] an address may open only so many sockets', async (t) => {
  const edge = await env.spawn('edge', { WS_MAX_CONNECTIONS_PER_IP: 2 });
  const people = await Promise.all([registerPerson(at), registerPerson(at), registerPerson(at)]);
  const open = await Promise.all(people.slice(0, 2).map((one) => TestSocket.open(edge, one)));
  const refused = await knock('/v1/ws', bearer(people[2]!), edge.edgeUrl);
  t.is(refused.status, 429);
  t.is(refused.body.error?.code, 'rate_limited');
  open[0]!.socket.close();
  await open[0]!.waitForClose();
  await until(async () => (await knock('/v1/ws', bearer(people[2]!), edge.edgeUrl)).status === 101);
  open[1]!.socket.terminate();
  await edge.stop();
});
