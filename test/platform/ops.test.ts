/** What a process tells its operator, and what it tells everybody. */
import test from 'ava';
import { type Env, type Started, startEnv } from '../env/index.ts';

let env: Env;
let at: Started;
test.before(async () => {
  env = await startEnv();
  at = await env.start('ingest', 'fanout', 'history', 'api', 'edge');
});
test.after.always(() => env?.stop());
const get = async (base: string, path: string): Promise<{ status: number; text: string }> => {
  const reply = await fetch(base.replace(/^ws/, 'http') + path);
  return { status: reply.status, text: await reply.text() };
};

test.serial('[O03] the public ports report health and readiness and nothing else', async (t) => {
  for (const base of [at.apiUrl, at.edgeUrl]) {
    t.deepEqual(await get(base, '/health'), { status: 200, text: '{"data":{"status":"ok"}}' });
    t.deepEqual(await get(base, '/ready'), { status: 200, text: '{"data":{"ready":true}}' });
    const metrics = await get(base, '/metrics');
    t.is(metrics.status, 404);
    t.notRegex(metrics.text, /sealwire_|metrics/);
  }
});

test.serial('[O03] the operator’s port reports the state of each service and the metrics', async (t) => {
  const ready = await get(at.opsUrl, '/ready');
  const services = { ingest: true, fanout: true, history: true, api: true, edge: true };
  t.deepEqual(JSON.parse(ready.text), { data: { ready: true, services } });
  t.regex((await get(at.opsUrl, '/metrics')).text, /^sealwire_sockets 0$/m);
  t.is((await get(at.opsUrl, '/v1/users/me')).status, 404);
});

test.serial('[O03] a process that is not ready gives its reason on the operator’s port only', async (t) => {
  const one = await env.spawn('api');
  // It notices by its own probe.
  await env.postgres.kill9();
  try {
    let told = await get(one.opsUrl, '/ready');
    for (; told.status === 200; told = await get(one.opsUrl, '/ready')) await new Promise((r) => setTimeout(r, 20));
    t.is(told.status, 503);
    t.regex(told.text, /Postgres/);
    t.deepEqual(await get(one.apiUrl, '/ready'), { status: 503, text: '{"data":{"ready":false}}' });
  } finally {
    await env.postgres.restart();
    await one.stop();
  }
});

test.serial('[O03] a second process on the same OPS_PORT fails at start', async (t) => {
  const taken = { OPS_PORT: Number(new URL(at.opsUrl).port) };
  await t.throwsAsync(env.spawn('history', taken), { message: /ended while starting/ });
});

test.serial('[O03] the edge reports health, readiness and metrics', async (t) => {
  const base = at.edgeUrl.replace('ws:', 'http:');
  for (const path of ['/health', '/ready']) t.is((await fetch(base + path)).status, 200);
  t.is((await fetch(`${base}/metrics`)).status, 404);
  t.regex(await (await fetch(`${at.opsUrl}/metrics`)).text(), /sealwire_sockets \d/);
  t.is((await fetch(`${base}/v1/ws`)).status, 400);
  t.is((await fetch(`${base}/elsewhere`)).status, 404);
});
