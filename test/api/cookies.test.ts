/** Browsers: the refresh token in an HttpOnly cookie, with a CSRF token beside it. */
import test from 'ava';
import { type Env, startEnv } from '../env/index.ts';
import { PASSWORD } from '../env/people.ts';
import { Api, QUICK_HASHING } from './http.ts';

let env: Env;
let api: Api;
test.before(async () => {
  env = await startEnv({ ...QUICK_HASHING, CORS_ORIGINS: ['https://app.example'], OTP_DEV_CODE: '123456' });
  api = new Api((await env.start('api')).apiUrl);
});
test.after.always(() => env.stop());

const device = { name: 'browser' };
const password = PASSWORD;
let people = 0;

interface Jar {
  cookie: string;
  csrf: string;
  attributes: string[];
}
function jar(headers: Headers): Jar {
  const set = headers.getSetCookie();
  const cookie = set.map((one) => one.split(';')[0]).join('; ');
  return { cookie, csrf: /sealwire_csrf=([^;]*)/.exec(cookie)?.[1] ?? '', attributes: set };
}
async function browser() {
  const body = { username: `browser_${++people}`, password, device, cookie: true };
  const { status, data, headers } = await api.ask('auth.register', { body });
  return { status, data: data as unknown as Record<string, unknown>, ...jar(headers) };
}
const refresh = (headers: Record<string, string>) => api.ask('auth.refresh', { body: {}, headers });

test('[A12] the refresh token is set as a cookie on request, and no reply contains it', async (t) => {
  const { status, data, attributes, csrf } = await browser();
  t.is(status, 201);
  t.false('refresh_token' in data);
  t.is(data.csrf_token, csrf);
  const [token, readable] = attributes as [string, string];
  t.regex(token, /^sealwire_refresh=[\w-]{43}; Max-Age=2592000; Path=\/v1\/auth; HttpOnly; SameSite=Strict; Secure$/);
  t.regex(readable, /^sealwire_csrf=[\w-]{43}; Max-Age=2592000; Path=\/; SameSite=Strict; Secure$/);
  const email = `cookies${++people}@example.org`;
  await api.ask('auth.otp.request', { body: { email } });
  for (const [name, body] of [
    ['auth.login', { identifier: (data.user as { number: string }).number, password, device, cookie: true }],
    ['auth.otp.verify', { email, code: '123456', device, cookie: true }],
  ] as const) {
    const got = await api.ask(name, { body });
    t.false('refresh_token' in got.data, name);
    t.is(jar(got.headers).attributes.length, 2, name);
  }
  const plain = await api.ask('auth.register', { body: { username: `plain_${++people}`, password, device } });
  t.deepEqual(plain.headers.getSetCookie(), []);
});

test('[A12] a refresh with the cookie and its CSRF token rotates the cookie', async (t) => {
  const { cookie, csrf } = await browser();
  const next = await refresh({ cookie, 'x-csrf-token': csrf, origin: 'https://app.example' });
  t.is(next.status, 200);
  t.is((await api.ask('accounts.get', { token: next.data.access_token })).status, 200);
  t.false('refresh_token' in next.data);
  const rotated = jar(next.headers);
  t.not(rotated.cookie, cookie);
  t.is(rotated.csrf, csrf, 'tabs that share the cookie keep their token');
  const own = await refresh({ cookie: rotated.cookie, 'x-csrf-token': csrf, origin: api.url });
  t.is(own.status, 200, 'the same host is no other site');
  t.is((await refresh({ cookie: jar(own.headers).cookie, 'x-csrf-token': csrf })).status, 200);
});

test('[A12] a refresh without the CSRF token, with another one or from another site is refused and keeps the cookie valid', async (t) => {
  const { cookie, csrf } = await browser();
  const other = await browser();
  const forged: Record<string, string>[] = [
    { cookie },
    { cookie, 'x-csrf-token': '' },
    { cookie, 'x-csrf-token': other.csrf },
    { cookie, 'x-csrf-token': csrf.slice(1) },
    { cookie, 'x-csrf-token': csrf, origin: 'https://evil.example' },
    { cookie, 'x-csrf-token': csrf, origin: 'null' },
  ];
  for (const headers of forged) {
    const { error } = await refresh(headers);
    t.is(error?.code, 'forbidden', JSON.stringify(Object.keys(headers)));
  }
  t.is((await refresh({ cookie, 'x-csrf-token': csrf })).status, 200);
  t.is((await refresh({ cookie: 'sealwire_refresh=made-up', 'x-csrf-token': csrf })).error?.code, 'unauthenticated');
  t.is((await refresh({})).error?.code, 'invalid_request');
});

test('[A12] logging out removes the cookies', async (t) => {
  const { cookie, csrf, data } = await browser();
  const out = await api.ask('sessions.logout', { token: data.access_token as string, headers: { cookie } });
  for (const one of jar(out.headers).attributes) t.regex(one, /^sealwire_(refresh|csrf)=; Max-Age=0;/);
  t.is((await refresh({ cookie, 'x-csrf-token': csrf })).error?.code, 'unauthenticated');
});

test('[A12] only listed origins may send cookies', async (t) => {
  const preflight = async (origin: string) =>
    (
      await fetch(`${api.url}/v1/auth/refresh`, {
        method: 'OPTIONS',
        headers: { origin, 'access-control-request-method': 'POST' },
      })
    ).headers;
  const good = await preflight('https://app.example');
  t.is(good.get('access-control-allow-credentials'), 'true');
  t.regex(good.get('access-control-allow-headers')!, /x-csrf-token/);
  t.is((await preflight('https://evil.example')).get('access-control-allow-credentials'), null);
  const open = await env.spawn('api', { CORS_ORIGINS: ['*'] });
  const { headers } = await fetch(`${open.apiUrl}/v1/ping`, { headers: { origin: 'https://evil.example' } });
  t.is(headers.get('access-control-allow-origin'), 'https://evil.example');
  t.is(headers.get('access-control-allow-credentials'), null);
  await open.stop();
});
