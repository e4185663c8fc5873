/** One setting allows the origins of pages at API and edge, and a refusal names it. */
import { request } from 'node:http';
import test from 'ava';
import { readConfig } from '../../shared/config/index.ts';
import { createOrigins } from '../../shared/origins.ts';
import { type Addresses, type Env, startEnv } from '../env/index.ts';

let env: Env;
let at: Addresses;
const APP = 'https://app.example';
const EVIL = 'https://evil.example';
const LOCAL = 'http://localhost:5173';

test.before(async () => {
  env = await startEnv({ ALLOWED_ORIGINS: [APP] });
  at = await env.start('ingest', 'fanout', 'history', 'api', 'edge');
});
test.after.always(() => env?.stop());

const edgeUrl = (url = at.edgeUrl): string => `${url.replace('ws:', 'http:')}/v1/ws`;
/** Asks for an upgrade without a token. @returns the code of the refusal */
function knock(origin: string, url = edgeUrl()): Promise<string> {
  return new Promise((resolve, reject) => {
    const headers = { connection: 'Upgrade', upgrade: 'websocket', 'sec-websocket-version': '13', origin };
    const asked = request(url, { headers: { ...headers, 'sec-websocket-key': 'dGhlIHNhbXBsZSBub25jZQ==' } });
    asked.on('response', async (reply) => {
      let text = '';
      for await (const chunk of reply) text += chunk;
      resolve(JSON.parse(text).error.code);
    });
    asked.on('error', reject).end();
  });
}
const cors = async (origin: string, url = at.apiUrl): Promise<string | null> =>
  (await fetch(`${url}/v1/ping`, { headers: { origin } })).headers.get('access-control-allow-origin');

test('[R01] [A01] one setting allows an origin at the API and the edge, and localhost is allowed outside production', async (t) => {
  for (const origin of [APP, LOCAL, 'http://127.0.0.1:8000', 'http://[::1]:3000']) {
    t.is(await cors(origin), origin);
    t.is(await knock(origin), 'unauthenticated', 'it is asked for its token');
  }
  for (const origin of [EVIL, 'null', 'http://localhost.evil.example', 'https://app.example:444']) {
    t.is(await cors(origin), null, origin);
    t.is(await knock(origin), 'forbidden', origin);
  }
  t.is(await cors(at.apiUrl), at.apiUrl, 'the same host');
  t.is(await knock(at.edgeUrl.replace('ws:', 'http:')), 'unauthenticated');
  t.regex((await fetch(`${at.apiUrl}/v1/ping`)).headers.get('vary') ?? '', /Origin/);
});

test('[R01] a refused page that asks the edge over plain HTTP learns the setting', async (t) => {
  const reply = await fetch(edgeUrl(), { headers: { origin: EVIL } });
  t.is(reply.status, 403);
  t.is(reply.headers.get('access-control-allow-origin'), '*', 'the page may read it');
  const { error } = (await reply.json()) as { error: { code: string; message: string } };
  t.is(error.code, 'forbidden');
  t.regex(error.message, /ALLOWED_ORIGINS/);
  t.is((await fetch(edgeUrl(), { headers: { origin: APP } })).status, 400, 'an allowed page is told to upgrade');
});

test('[R01] [A01] the two former settings are read while the new one is not set', async (t) => {
  const before = { ALLOWED_ORIGINS: [], CORS_ORIGINS: [APP], WS_ALLOWED_ORIGINS: [EVIL] };
  const old = await env.spawn('api', before);
  t.deepEqual([await cors(APP, old.apiUrl), await cors(EVIL, old.apiUrl)], [APP, null]);
  await old.stop();
  const edge = await env.spawn('edge', before);
  const url = edgeUrl(edge.edgeUrl);
  t.deepEqual([await knock(APP, url), await knock(EVIL, url)], ['forbidden', 'unauthenticated']);
  await edge.stop();
});

test('[R01] [A01] a refused origin is logged once with the name of the setting, and the log is bounded', (t) => {
  const lines: Record<string, unknown>[] = [];
  const log = { warn: (line: Record<string, unknown>) => void lines.push(line) } as never;
  const config = { ...env.config, NODE_ENV: 'production' };
  const origins = createOrigins(config, 'CORS_ORIGINS', log, 2);
  for (let i = 0; i < 3; i++) t.false(origins.allows(EVIL, 'api.example'));
  t.like(lines, [{ origin: EVIL, setting: 'ALLOWED_ORIGINS' }]);
  t.false(origins.allows(LOCAL, 'api.example'), 'not in production');
  t.true(origins.allows('https://api.example', 'api.example'));
  for (let i = 0; i < 10; i++) origins.allows(`https://${'x'.repeat(1_000)}${i}.example`, 'api.example');
  t.is(lines.length, 3, 'the third line says that there are more');
  t.true(JSON.stringify(lines).length < 1_000);
  const any = createOrigins({ ...config, ALLOWED_ORIGINS: ['*'] }, 'CORS_ORIGINS');
  t.deepEqual([any.allows(EVIL, 'api.example'), any.trusts(EVIL)], [true, false], 'and without cookies');
});

test('[R01] [A01] an invalid origin is refused at start, and so is * in production', (t) => {
  t.deepEqual(readConfig({ ALLOWED_ORIGINS: `${APP}, ${LOCAL}` }).ALLOWED_ORIGINS, [APP, LOCAL]);
  for (const wrong of ['https://app.example/', 'app.example', 'https://app.example/chat', 'null'])
    t.throws(() => readConfig({ ALLOWED_ORIGINS: wrong }), { message: /ALLOWED_ORIGINS must be origins/ }, wrong);
  t.throws(() => readConfig({ NODE_ENV: 'production', ALLOWED_ORIGINS: '*' }), { message: /ALLOWED_ORIGINS=\*/ });
});
