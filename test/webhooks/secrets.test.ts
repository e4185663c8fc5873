/** Secrets and tokens are in the reply that made them, and nowhere else: no log, at any level, and no later reply. */
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'ava';
import { adminToken } from '../../shared/auth/derived.ts';
import { Api, QUICK_HASHING } from '../api/http.ts';
import { type Env, startEnv } from '../env/index.ts';
import { until } from '../env/until.ts';
import { paymentEvent, SECRET, sendEvent, signEvent, unixSeconds } from '../payments/fake-service.ts';
import { Receiver } from './receiver.ts';

const logDir = mkdtempSync(join(tmpdir(), 'sealwire-logs-'));
let env: Env;
test.before(async () => {
  env = await startEnv(
    {
      ...{ ...QUICK_HASHING, LOG_LEVEL: 'trace', PAYMENTS_WEBHOOK_SECRET: SECRET },
      ...{ WEBHOOK_ALLOW_CIDRS: ['127.0.0.0/8'], WEBHOOK_TIMEOUT_SEC: 15 },
    },
    { logDir },
  );
});
test.after.always(async () => {
  await Receiver.closeAll();
  await env?.stop();
  rmSync(logDir, { recursive: true, force: true });
});

test('[W01] [W03] [N01] [P04] secrets, tokens, header values, addresses and signatures are neither logged nor shown again', async (t) => {
  const { apiUrl } = await env.spawn([
    ...(['webhook', 'push', 'payments-webhook', 'events'] as const),
    ...(['history', 'fanout', 'ingest', 'api'] as const),
  ]);
  const api = new Api(apiUrl);
  const token = adminToken(env.config);
  const receiver = await Receiver.start();
  const hidden = new Map<string, string>([['the operator token', token]]);
  const create = async (url: string) => {
    const headers = { 'x-key': 'header-value-4711' };
    const { data } = await api.ask('webhooks.endpoints.create', { token, body: { url, headers } });
    hidden.set(`the secret of ${url}`, data.secret!.slice('whsec_'.length));
    return data;
  };
  hidden.set('a header value', 'header-value-4711').set('an address', 'address-token-0815');
  const good = await create(`${receiver.url}?t=address-token-0815`);
  const bad = await create('http://127.0.0.1:1/?t=address-token-0815');
  const rotated = await api.ask('webhooks.endpoints.rotateSecret', { token, id: good.id, body: {} });
  hidden.set('a rotated secret', rotated.data.secret.slice('whsec_'.length));
  const made = await api.ask('serviceTokens.create', { token, body: { name: 'crm', scopes: ['webhooks'] } });
  hidden.set('a service token', made.data.token);

  for (const { id } of [good, bad]) await api.ask('webhooks.endpoints.test', { token: made.data.token, id, body: {} });
  const [got] = await receiver.waitForCount(1, ({ event }) => event.type === 'webhook.test');
  t.is(got!.headers['x-key'], 'header-value-4711');
  hidden.set('a signature', String(got!.headers['webhook-signature']).slice(3, 40));
  await until(async () => (await api.ask('webhooks.attempts.list', { token, id: bad.id })).data.items.length > 0);

  const person = await api.register();
  const target = { provider: 'unifiedpush', endpoint: 'http://127.0.0.1:1/push-token-1234' };
  const put = await api.ask('push.targets.put', { token: person.access_token, id: person.device.id, body: target });
  t.is(put.status, 200);
  hidden.set('a push target', 'push-token-1234').set('an access token', person.access_token);

  const event = paymentEvent('create', 'PR_hidden');
  const ts = unixSeconds();
  const sign = signEvent(ts, event.type, JSON.stringify(event));
  hidden.set('a payment signature', sign).set('the payments secret', SECRET);
  t.is((await sendEvent(apiUrl, event, { ts, sign })).status, 202);
  t.is((await sendEvent(apiUrl, event, { secret: 'wrong' })).status, 401);

  // Engines that die make the most talkative errors.
  await env.postgres.kill9();
  await api.ask('webhooks.endpoints.test', { token, id: good.id, body: {} });
  await sendEvent(apiUrl, event);
  await env.postgres.restart();
  await until(async () => (await api.ask('webhooks.endpoints.list', { token })).status === 200);

  const replies: unknown[] = [];
  for (const name of [
    'webhooks.endpoints.get',
    'webhooks.deliveries.list',
    'webhooks.attempts.list',
    'webhooks.endpoints.stats',
  ] as const)
    for (const { id } of [good, bad]) replies.push((await api.ask(name, { token, id })).data);
  replies.push(
    (await api.ask('webhooks.endpoints.list', { token })).data,
    (await api.ask('serviceTokens.list', { token })).data,
  );
  replies.push((await api.ask('webhooks.endpoints.update', { token, id: good.id, body: { description: 'x' } })).data);
  replies.push(
    (await api.ask('push.targets.get', { token: person.access_token, id: person.device.id })).data,
    put.data,
  );
  const shown = JSON.stringify(replies);
  const logged = readdirSync(logDir).map((name) => readFileSync(join(logDir, name), 'utf8'));
  t.regex(logged.join(''), /"unit":"webhook"/);
  for (const [what, text] of hidden) {
    t.true(text.length > 8, what);
    for (const log of logged) t.false(log.includes(text), `${what} is logged`);
    // Operators may read where an endpoint is.
    if (what !== 'an address') t.false(shown.includes(text), `${what} is shown`);
  }
});
