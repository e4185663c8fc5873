/** What a body may cost: how much of it is read, held and looked at. */
import type { IncomingMessage } from 'node:http';
import { connect } from 'node:net';
import { PassThrough } from 'node:stream';
import { setImmediate as turn } from 'node:timers/promises';
import test from 'ava';
import { Bodies } from '../../services/api/http/bodies.ts';
import { ApiError } from '../../shared/contract/errors.ts';
import { CLIENT_FRAMES } from '../../shared/contract/frames/client.ts';
import type { LoggedIn } from '../../shared/contract/http/auth.ts';
import { ROUTES, type Route, type RouteName } from '../../shared/contract/http/routes.ts';
import { checker } from '../../shared/contract/validate.ts';
import { type Env, startEnv } from '../env/index.ts';
import { Api, QUICK_HASHING } from './http.ts';

let env: Env;
let api: Api;
let me: LoggedIn;
test.before(async () => {
  env = await startEnv({
    ...QUICK_HASHING,
    HTTP_SMALL_BODY_BYTES: 2_048,
    HTTP_MAX_BODY_BYTES: 32_768,
    COMMAND_TIMEOUT_MS: 300,
  });
  api = new Api((await env.start('api')).apiUrl);
  me = await api.register();
});
test.after.always(() => env.stop());

const routes = Object.entries(ROUTES) as [RouteName, Route][];
/** What the server says to a head whose body never comes, until it closes the connection. */
async function answerToHead(route: Route, headers: string[]): Promise<string> {
  const { hostname, port } = new URL(api.url);
  const socket = connect(Number(port), hostname);
  const path = route.path.replace('{id}', me.user.id);
  socket.write([`${route.method} ${path} HTTP/1.1`, 'host: x', ...headers, '', ''].join('\r\n'));
  let answer = '';
  for await (const chunk of socket) answer += chunk;
  return answer;
}

test('[A03] routes without a token refuse a body over the small limit before reading any of it', async (t) => {
  const open = routes.filter(([, { auth, body }]) => auth === 'none' && body);
  t.true(open.length >= 6);
  for (const [name, route] of open) {
    const answer = await answerToHead(route, ['content-type: application/json', 'content-length: 2049']);
    t.regex(answer, /^HTTP\/1\.1 413 [\s\S]*"limit":2048/, name);
    const sent = await api.ask(name, { raw: `{"a":"${'x'.repeat(2_048)}"}` });
    t.like(sent.error, { code: 'too_large', details: { limit: 2_048 } }, name);
  }
});

test('[A03] the token is checked before the body is read, and a long unread body closes the connection', async (t) => {
  for (const [name, route] of routes.filter(([, { auth, body }]) => auth !== 'none' && body)) {
    const answer = await answerToHead(route, ['content-type: application/json', 'content-length: 30000']);
    t.regex(answer, /^HTTP\/1\.1 401 /, name);
    t.regex(answer, /connection: close/i, name);
  }
  const payment = await answerToHead(ROUTES['payments.receive'], ['content-length: 30000']);
  t.regex(payment, /^HTTP\/1\.1 401 /, 'a payment event without a signature');
});

test('[A03] a route with a token accepts a large body only where it needs one', async (t) => {
  const raw = `{"name":"${'x'.repeat(4_000)}"}`;
  const ask = { id: me.device.id, token: me.access_token, raw };
  t.like((await api.ask('devices.update', ask)).error, { code: 'too_large', details: { limit: 2_048 } });
  t.is((await api.ask('keys.backup.put', { token: me.access_token, body: { data: 'x'.repeat(20_000) } })).status, 200);
});

test('[A03] JSON nested half a million levels deep is refused because of its depth', async (t) => {
  const wide = await startEnv({ ...QUICK_HASHING, HTTP_SMALL_BODY_BYTES: 4 << 20, HTTP_MAX_BODY_BYTES: 4 << 20 });
  try {
    const one = new Api((await wide.start('api')).apiUrl);
    for (const raw of [
      `${'['.repeat(500_000)}"\\u0000"${']'.repeat(500_000)}`,
      `{"device":${'{"a":'.repeat(500_000)}"\\u0000"${'}'.repeat(500_001)}`,
    ]) {
      const { status, error } = await one.ask('auth.login', { raw });
      t.like({ status, ...error }, { status: 400, code: 'invalid_request', details: { limit: 32 } });
    }
    const brackets = await one.ask('auth.login', {
      body: { identifier: '['.repeat(100), password: 'x"\\"[', device: {} },
    });
    t.is(brackets.error?.code, 'unauthenticated', 'brackets in a text are no levels');
  } finally {
    await wide.stop();
  }
});

test('[A03] text that Postgres cannot store is refused with the name of its field, over HTTP and on the socket', async (t) => {
  const device = { name: 'phone' };
  const bodies: [RouteName, string, object][] = [
    ['auth.login', 'identifier', { identifier: 'a\0', password: 'x', device }],
    ['auth.login', 'device.name', { identifier: 'a', password: 'x', device: { name: '\ud800' } }],
    ['auth.register', 'bio', { username: 'somebody', password: 'correct horse', bio: 'a\0b', device }],
    ['conversations.create', 'name', { type: 'group', name: '\0', member_ids: [] }],
  ];
  for (const [name, field, body] of bodies) {
    const { error } = await api.ask(name, { token: me.access_token, body });
    t.like(error, { code: 'invalid_request', details: { field } }, `${name} ${field}`);
  }
  const query = await api.ask('conversations.list', { token: me.access_token, query: { cursor: 'a\0' } });
  t.like(query.error, { code: 'invalid_request', details: { field: 'cursor' } });
  const media = { media_id: me.user.id, filename: 'a\0.txt' };
  const frame = { type: 'message.send', to: { user_id: me.user.id }, client_message_id: 'c', payload: 'x' };
  const check = CLIENT_FRAMES.get('message.send')!;
  t.notThrows(() => check({ ...frame, attachments: [{ ...media, filename: 'ä.txt' }] }));
  const error = t.throws(() => check({ ...frame, attachments: [media] }), { instanceOf: ApiError });
  t.deepEqual(error.details, { field: 'attachments.0.filename' });
});

test('[A03] the patterns of the contract list the characters that they allow, so none admits text that cannot be stored', (t) => {
  const patterns = new Set(JSON.stringify(ROUTES).match(/"pattern":"(?:[^"\\]|\\.)*"/g));
  t.true(patterns.size > 10);
  // Records take any key; their texts are looked at.
  for (const pattern of patterns) t.notRegex(pattern, /\[\^|\\[SWDs]|[^[\w.]\.[*+{]/, pattern);
});

test('[A03] a check stops at the first error', (t) => {
  let looked = 0;
  const items = new Proxy(
    Array.from({ length: 10_000 }, () => ({})),
    {
      get(all, key) {
        if (typeof key === 'string' && /^\d+$/.test(key)) looked++;
        return Reflect.get(all, key);
      },
    },
  );
  const check = checker(ROUTES['messages.send'].body, 'body');
  const error = t.throws(() => check({ client_message_id: 'x', envelopes: items }), { instanceOf: ApiError });
  t.is(error.message, 'body: envelopes.0.device_id is missing');
  t.true(looked <= 4, `${looked} of 10000 items were looked at`);
  const long = 'x'.repeat(10_000);
  const unknown = t.throws(() => check({ client_message_id: 'x', [long]: 1 }), { instanceOf: ApiError });
  t.true(JSON.stringify(unknown).length < 300, 'the name of a field is not given back at any length');
});

const TERMS = { HTTP_SMALL_BODY_BYTES: 100, HTTP_BODIES_MAX_BYTES: 1_000, HTTP_BODIES_MAX_BYTES_PER_CALLER: 600 };
/** A body that comes as the test writes it. */
function incoming(): PassThrough & IncomingMessage {
  const headers = { 'content-type': 'application/json', 'transfer-encoding': 'chunked' };
  return Object.assign(new PassThrough(), { headers }) as never;
}
const code = (reading: Promise<unknown>): Promise<string> =>
  reading.then(
    () => 'good',
    (error: ApiError) => error.code,
  );

test('[A03] the bytes of bodies being read are limited per caller and in total', async (t) => {
  const bodies = new Bodies(TERMS);
  const read = (caller: string) => {
    const request = incoming();
    return { request, done: code(bodies.read(request, { limit: 900, caller }, (value) => value)) };
  };
  const start = `{"a":"${'x'.repeat(500)}`;
  const [anna, again, ben] = [read('anna'), read('anna'), read('ben')];
  anna.request.write(start);
  again.request.write(start);
  t.is(await again.done, 'rate_limited');
  ben.request.write(start);
  t.is(await ben.done, 'unavailable');
  t.is(bodies.heldBytes, start.length, 'what was refused is not held');
  anna.request.end('"}');
  t.is(await anna.done, 'good');
  t.is(bodies.heldBytes, 0);
});

test('[A03] large bodies that arrive together are parsed in separate turns of the event loop', async (t) => {
  const bodies = new Bodies({ ...TERMS, HTTP_BODIES_MAX_BYTES: 100_000, HTTP_BODIES_MAX_BYTES_PER_CALLER: 100_000 });
  let turns = 0;
  const parsedIn: number[] = [];
  const all = Array.from({ length: 8 }, () => {
    const request = incoming();
    request.end(JSON.stringify('x'.repeat(5_000)));
    return bodies.read(request, { limit: 10_000, caller: 'x' }, () => parsedIn.push(turns));
  });
  let over = false;
  const done = Promise.all(all).then(() => {
    over = true;
  });
  for (; !over; turns++) await turn();
  await done;
  t.is(new Set(parsedIn).size, 8, String(parsedIn));
});
