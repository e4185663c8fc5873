/** Before and right after the upgrade: who may connect, and what a connection is told first. */
import { request } from 'node:http';
import test from 'ava';
import { SignJWT } from 'jose';
import type { Session } from '../../client/index.ts';
import { type Env, type Started, startEnv } from '../env/index.ts';
import { account, another, Raw, until } from './devices.ts';

let env: Env;
let at: Started;

test.before(async () => {
  env = await startEnv({ WS_MAX_CONNECTIONS_PER_IP: 20, WS_ALLOWED_ORIGINS: ['https://chat.example'] });
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
const ticket = async (session: Session): Promise<string> =>
  (await session.call<{ ticket: string }>('POST', '/v1/ws/tickets')).ticket;

test('[R01] a token opens the socket by header, a ticket by subprotocol or query; both paths serve', async (t) => {
  const me = await account(at);
  t.is((await knock('/v1/ws', bearer(me))).status, 101);
  t.is((await knock('/ws', bearer(me))).status, 101);
  const offered = { 'sec-websocket-protocol': `sealwire.v1.json, ticket.${await ticket(me)}` };
  t.like(await knock('/v1/ws', offered), { status: 101, protocol: 'sealwire.v1.json' });
  t.is((await knock(`/v1/ws?ticket=${await ticket(me)}`)).status, 101);
});

test('[R01] [A13] everything else is refused before the upgrade, with a reason', async (t) => {
  const me = await account(at);
  const used = await ticket(me);
  t.is((await knock(`/v1/ws?ticket=${used}`)).status, 101);
  const none = await new SignJWT({ did: me.device.id, sid: me.device.id })
    .setProtectedHeader({ alg: 'HS256', typ: 'at+jwt' })
    .setSubject(me.user.id)
    .sign(new TextEncoder().encode('x'.repeat(32)));
  const refused: [number, string, string, Record<string, string>][] = [
    [401, 'unauthenticated', '/v1/ws', {}],
    [401, 'unauthenticated', '/v1/ws', { authorization: 'Bearer nonsense' }],
    [401, 'unauthenticated', '/v1/ws', { authorization: 'Basic eDp5' }],
    [401, 'unauthenticated', '/v1/ws', { authorization: `Bearer ${none}` }],
    [401, 'unauthenticated', `/v1/ws?ticket=${used}`, {}],
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

test('[R01] one ticket at once from many sides opens one socket', async (t) => {
  const me = await account(at);
  const one = await ticket(me);
  const answers = await Promise.all(Array.from({ length: 8 }, () => knock(`/v1/ws?ticket=${one}`)));
  t.is(answers.filter(({ status }) => status === 101).length, 1);
});

test('[R01] revoked sessions and deleted devices are refused, other devices of the person are not', async (t) => {
  const first = await account(at);
  const other = await another(first);
  await env.db.query('update devices set deleted_at = now() where id = $1', [first.device.id]);
  t.like(await knock('/v1/ws', bearer(first)), { status: 401 });
  t.is((await knock('/v1/ws', bearer(other))).status, 101);
  await env.db.query('update sessions set revoked_at = now() where device_id = $1', [other.device.id]);
  t.like(await knock('/v1/ws', bearer(other)), { status: 401 });
});

test('[R01] the query token works where it is switched on; without a list browsers come from the same host', async (t) => {
  const edge = await env.spawn('edge', { WS_ALLOW_QUERY_TOKEN: true, WS_ALLOWED_ORIGINS: [] });
  const me = await account(at);
  t.is((await knock(`/v1/ws?access_token=${me.access_token}`, {}, edge.edgeUrl)).status, 101);
  const host = new URL(edge.edgeUrl).host;
  t.is((await knock('/v1/ws', { ...bearer(me), origin: `http://${host}` }, edge.edgeUrl)).status, 101);
  t.is((await knock('/v1/ws', { ...bearer(me), origin: 'http://elsewhere.example' }, edge.edgeUrl)).status, 403);
  await edge.stop();
});

test('[R02] the welcome says who, where and within which limits', async (t) => {
  const me = await account(at);
  const raw = await Raw.open(at, me);
  const [welcome, empty] = raw.got;
  t.like(welcome, { type: 'connection.welcome', user_id: me.user.id, device_id: me.device.id, backlog: 0 });
  t.like(welcome, { heartbeat_sec: 30, idle_timeout_sec: 120, durability: 'fast' });
  t.is((welcome!.limits as { message_max_bytes: number }).message_max_bytes, env.config.MESSAGE_MAX_BYTES);
  t.is(typeof welcome!.epoch, 'string');
  t.like(empty, { type: 'inbox.empty' });
  raw.say({ type: 'ping', id: 'p1' });
  t.like(await raw.until('pong'), { id: 'p1', server_version: welcome!.server_version });
  raw.socket.close();
  t.is(await raw.closed(), 1005);
});

test('[R03] an address has so many sockets and no more', async (t) => {
  const edge = await env.spawn('edge', { WS_MAX_CONNECTIONS_PER_IP: 2 });
  const people = await Promise.all([account(at), account(at), account(at)]);
  const open = await Promise.all(people.slice(0, 2).map((one) => Raw.open(edge, one)));
  const refused = await knock('/v1/ws', bearer(people[2]!), edge.edgeUrl);
  t.is(refused.status, 429);
  t.is(refused.body.error?.code, 'rate_limited');
  open[0]!.socket.close();
  await open[0]!.closed();
  await until(async () => (await knock('/v1/ws', bearer(people[2]!), edge.edgeUrl)).status === 101);
  open[1]!.socket.terminate();
  await edge.stop();
});

test('[O03] the edge says whether it is well and ready, and counts', async (t) => {
  const base = at.edgeUrl.replace('ws:', 'http:');
  for (const path of ['/health', '/ready']) t.is((await fetch(base + path)).status, 200);
  t.is((await fetch(`${base}/metrics`)).status, 404);
  t.regex(await (await fetch(`${at.opsUrl}/metrics`)).text(), /sealwire_sockets \d/);
  t.is((await fetch(`${base}/v1/ws`)).status, 400);
  t.is((await fetch(`${base}/elsewhere`)).status, 404);
});
