import { request } from 'node:http';
import test from 'ava';
import fc from 'fast-check';
import { ERROR_STATUS } from '../../shared/contract/errors.ts';
import type { LoggedIn } from '../../shared/contract/http/auth.ts';
import { ROUTES, type Route, type RouteName } from '../../shared/contract/http/routes.ts';
import { uuid7 } from '../../shared/ids.ts';
import { type Env, startEnv } from '../env/index.ts';
import { Api, QUICK_HASHING } from './http.ts';

let env: Env;
let api: Api;
let me: LoggedIn;
test.before(async () => {
  env = await startEnv({
    ...QUICK_HASHING,
    CORS_ORIGINS: ['https://app.example'],
    COMMAND_TIMEOUT_MS: 300,
    GROUP_MAX_MEMBERS: 5,
  });
  api = new Api((await env.start('api')).apiUrl);
  me = await api.register();
});
test.after.always(() => env.stop());

const names = Object.keys(ROUTES) as RouteName[];
const direct = (from: LoggedIn, body: object) =>
  api.ask('conversations.createDirect', { token: from.access_token, body });
const withBody = names.filter((name) => (ROUTES[name] as Route).body);

test('[A01] any JSON sent to any route gets a documented error and never 500', async (t) => {
  const field = fc.constantFrom(
    ...['phone', 'email', 'username', 'password', 'device', 'identifier', 'refresh_token', 'identity_key', 'user_id'],
    ...['number', 'type', 'member_ids', 'client_message_id', 'payload', 'envelopes', 'seq', '__proto__', 'constructor'],
  );
  const body = fc.oneof(fc.jsonValue({ maxDepth: 3 }), fc.dictionary(field, fc.jsonValue({ maxDepth: 2 })));
  await fc.assert(
    fc.asyncProperty(fc.constantFrom(...withBody), body, async (name, value) => {
      const got = await api.ask(name, { id: me.user.id, token: me.access_token, body: value });
      t.true(got.status < 500 || got.error?.code === 'unavailable', `${name} ${JSON.stringify(value)}`);
    }),
    { numRuns: 400 },
  );
});

test('[A03] unusual texts in every field of a valid body never cause a 500', async (t) => {
  const text = fc.oneof(
    fc.string({ unit: 'binary' }),
    fc.string({ unit: 'grapheme' }),
    fc.constantFrom('\0', '\ud800', '', '＠', 'ß@ß.ß'),
  );
  await fc.assert(
    fc.asyncProperty(text, text, text, async (a, b, c) => {
      const bodies: [RouteName, unknown][] = [
        [
          'auth.register',
          { username: a, email: b, password: `${c}12345678`, name: b, device: { name: c, platform: a } },
        ],
        ['auth.login', { identifier: a, password: b, device: { name: c } }],
        ['auth.refresh', { refresh_token: a }],
        ['keys.publish', { identity_key: b }],
        ['conversations.createDirect', { email: a }],
        ['conversations.createDirect', { phone: b }],
      ];
      for (const [name, body] of bodies) {
        const got = await api.ask(name, { token: me.access_token, body });
        t.true(got.status < 500 || got.error?.code === 'unavailable', `${name} ${JSON.stringify(body)}`);
      }
    }),
    { numRuns: 60 },
  );
});

test('[H01] any path and query gets a documented error and never 500', async (t) => {
  const text = fc.oneof(
    fc.string(),
    fc.nat().map(String),
    fc.constantFrom('-1', '1e3', '99999999999999999999', 'NaN', ''),
  );
  const keys = fc.constantFrom('limit', 'cursor', 'after_seq', 'before_seq', 'page', 'per_page', 'other');
  const reads = names.filter((name) => ROUTES[name].method === 'GET');
  await fc.assert(
    fc.asyncProperty(
      fc.constantFrom(...reads),
      fc.oneof(fc.constant(me.user.id), text),
      fc.dictionary(keys, text),
      async (name, id, query) => {
        const path = ROUTES[name].path.replace('{id}', encodeURIComponent(id));
        const url = new URL(api.url + path);
        for (const [key, value] of Object.entries(query)) url.searchParams.set(key, value);
        const response = await fetch(url, { headers: { authorization: `Bearer ${me.access_token}` } });
        const json = (await response.json()) as { error?: { code: keyof typeof ERROR_STATUS } };
        t.true(response.status < 500, url.href);
        if (!response.ok) t.is<number, number>(ERROR_STATUS[json.error!.code], response.status);
      },
    ),
    { numRuns: 300 },
  );
});

test('[A01] a body that is not JSON, not UTF-8, of another type or encoding, or too large is refused with its own code', async (t) => {
  const cases: [Parameters<Api['ask']>[1] & object, string][] = [
    [{ raw: '{' }, 'invalid_request'],
    [{ raw: Buffer.from([0x7b, 0xff, 0x7d]) }, 'invalid_request'],
    [{ raw: '{}', headers: { 'content-type': 'text/plain' } }, 'unsupported_media'],
    [{ raw: '{}', headers: { 'content-type': 'application/json; charset=latin1' } }, 'unsupported_media'],
    [{ raw: '{}', headers: { 'content-encoding': 'gzip' } }, 'unsupported_media'],
    [{ raw: `"${'x'.repeat(env.config.HTTP_MAX_BODY_BYTES)}"` }, 'too_large'],
    [{}, 'invalid_request'],
    [{ raw: '{"password":"\\u0000"}' }, 'invalid_request'],
  ];
  for (const [ask, code] of cases)
    t.is((await api.ask('auth.register', ask)).error?.code, code as never, JSON.stringify(ask).slice(0, 80));
});

test('[A01] a body without a length is cut off at the limit', async (t) => {
  const status = await new Promise<number>((resolve, reject) => {
    const sending = request(
      `${api.url}/v1/auth/register`,
      { method: 'POST', headers: { 'content-type': 'application/json', 'transfer-encoding': 'chunked' } },
      (response) => {
        response.resume();
        resolve(response.statusCode!);
        sending.destroy();
      },
    );
    sending.on('error', reject);
    const chunk = Buffer.alloc(65_536, 'x');
    for (let sent = 0; sent <= env.config.HTTP_MAX_BODY_BYTES; sent += chunk.length) sending.write(chunk);
  });
  t.is(status, 413);
});

test('[A01] unknown paths, methods and query fields are refused by name', async (t) => {
  for (const path of ['/', '/v1/nothing', '/v1/auth/login', '/v1/users/me/devices/x', '/v1/../health']) {
    const response = await fetch(`${api.url}${path}`);
    const { error } = (await response.json()) as { error?: { code: string } };
    if (path !== '/v1/../health') t.is(error?.code, 'not_found', path);
  }
  const { error } = await api.ask('accounts.get', { token: me.access_token, query: { verbose: 1 } });
  t.is(error?.message, 'query: verbose is not a known field');
  t.is((await api.ask('conversations.get', { id: 'abc', token: me.access_token })).error?.code, 'invalid_request');
});

test('[A01] only listed origins pass CORS, and every reply forbids sniffing and caching', async (t) => {
  const preflight = (origin: string) =>
    fetch(`${api.url}/v1/users/me`, { method: 'OPTIONS', headers: { origin, 'access-control-request-method': 'GET' } });
  const let_in = await preflight('https://app.example');
  t.is(let_in.status, 204);
  t.is(let_in.headers.get('access-control-allow-origin'), 'https://app.example');
  t.is((await preflight('https://evil.example')).headers.get('access-control-allow-origin'), null);
  const { headers } = await api.ask('accounts.get', {
    token: me.access_token,
    headers: { 'x-request-id': 'abcdefgh-1' },
  });
  t.is(headers.get('x-request-id'), 'abcdefgh-1');
  t.is(headers.get('x-content-type-options'), 'nosniff');
  t.is(headers.get('cache-control'), 'no-store');
});

test('[A03] register, log-in and refresh share one limit per address', async (t) => {
  const strict = await startEnv({
    ...QUICK_HASHING,
    AUTH_RATE_LIMIT_MAX_REQUESTS: 3,
    AUTH_RATE_LIMIT_WINDOW_SEC: 3_600,
  });
  try {
    const one = new Api((await strict.start('api')).apiUrl);
    const codes: (string | undefined)[] = [];
    for (let i = 0; i < 5; i++)
      codes.push((await one.ask('auth.refresh', { body: { refresh_token: 'x' } })).error?.code);
    t.deepEqual(codes, ['unauthenticated', 'unauthenticated', 'unauthenticated', 'rate_limited', 'rate_limited']);
    const refused = await one.ask('auth.login', { body: { identifier: 'x', password: 'y', device: {} } });
    t.true(refused.error!.retry_after_ms! > 0 && refused.error!.retry_after_ms! <= 3_600_000);
    t.is(Number(refused.headers.get('retry-after')), Math.ceil(refused.error!.retry_after_ms! / 1000));
    t.is((await one.ask('server.ping')).status, 200);
  } finally {
    await strict.stop();
  }
});

test.serial(
  '[A03] requests are answered unavailable while Postgres is down, and succeed once it is back',
  async (t) => {
    const { postgres } = env;
    await postgres.kill9();
    const away = await api.ask('auth.login', { body: { identifier: 'is_someone', password: 'y', device: {} } });
    t.is(away.error?.code, 'unavailable');
    t.is(away.error?.retry_after_ms, 1_000);
    await postgres.restart();
    t.is((await api.ask('accounts.get', { token: me.access_token })).status, 200);
  },
);

test('[C01] a direct conversation with nobody, with oneself or with two identifiers is refused', async (t) => {
  const [alice, bob] = [await api.register(), await api.register()];
  t.is((await direct(alice, { user_id: uuid7() })).error?.code, 'not_found');
  t.is((await direct(alice, { number: '00000000' })).error?.code, 'not_found');
  t.is((await direct(alice, { user_id: alice.user.id })).error?.code, 'invalid_request');
  t.is((await direct(alice, {})).error?.code, 'invalid_request');
  t.is((await direct(alice, { user_id: bob.user.id, number: bob.user.number })).error?.code, 'invalid_request');
});
