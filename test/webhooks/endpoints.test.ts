import { execFileSync } from 'node:child_process';
import test from 'ava';
import { Webhook } from 'standardwebhooks';
import { syncEnvironmentEndpoints } from '../../services/webhook/environment-endpoints.ts';
import { paymentsSecret } from '../../shared/auth/derived.ts';
import { openEgressGuard } from '../../shared/egress-guard.ts';
import { openWebhookEncryption } from '../../shared/webhooks/secrets.ts';
import type { Api } from '../api/http.ts';
import { type ReceivedRequest, Receiver } from './receiver.ts';
import { WebhookSystem } from './system.ts';

let system: WebhookSystem;
test.before(async () => {
  system = await WebhookSystem.start({ WEBHOOK_MAX_ENDPOINTS: 30 });
  await system.startSender();
});
test.after.always(() => system?.stop());

const ask: Api['ask'] = (name, more = {}) => system.api.ask(name, { token: system.admin, ...more });
const URL = 'https://example.com/hook';

test.serial(
  '[W01] an endpoint is created, read, listed, changed, disabled, enabled and deleted, and its secret is shown once',
  async (t) => {
    const made = await ask('webhooks.endpoints.create', {
      body: {
        url: URL,
        description: 'crm',
        event_types: ['chat.message.read'],
        headers: { authorization: 'Bearer xyz' },
      },
    });
    t.is(made.status, 201);
    const { secret, ...endpoint } = made.data;
    t.regex(secret!, /^whsec_[A-Za-z0-9+/]{43}=$/);
    t.like(endpoint, { url: URL, description: 'crm', enabled: true, ordered: false, source: 'api', max_per_sec: null });
    t.deepEqual(endpoint.header_names, ['authorization']);
    const id = endpoint.id;
    const read = await ask('webhooks.endpoints.get', { id });
    t.deepEqual(read.data, endpoint);
    t.false(JSON.stringify(read.data).includes('xyz'));
    t.false('secret' in read.data);
    const list = await ask('webhooks.endpoints.list');
    t.true(list.data.items.some((one) => one.id === id));
    const changed = await ask('webhooks.endpoints.update', {
      id,
      body: { event_types: null, headers: null, description: 'erp', ordered: true, max_per_sec: 5, enabled: false },
    });
    t.like(changed.data, { event_types: null, description: 'erp', ordered: true, max_per_sec: 5, enabled: false });
    t.like(changed.data, { disabled_reason: 'by request', header_names: [] });
    t.is((await ask('webhooks.endpoints.update', { id, body: { enabled: true } })).data.disabled_reason, undefined);
    t.is((await ask('webhooks.endpoints.delete', { id })).status, 200);
    for (const gone of [
      'webhooks.endpoints.get',
      'webhooks.endpoints.delete',
      'webhooks.endpoints.stats',
      'webhooks.deliveries.list',
      'webhooks.attempts.list',
    ] as const)
      t.is((await ask(gone, { id })).status, 404);
    t.is((await ask('webhooks.endpoints.update', { id, body: { enabled: true } })).status, 404);
  },
);

test.serial('[W01] a repeated call with an Idempotency-Key creates one endpoint', async (t) => {
  const call = () => ask('webhooks.endpoints.create', { body: { url: URL }, headers: { 'idempotency-key': 'k-1' } });
  const all = await Promise.all([call(), call(), call(), call()]);
  t.is(new Set(all.map(({ data }) => data.id)).size, 1);
  t.deepEqual(all.map(({ status }) => status).sort(), [200, 200, 200, 201]);
  t.is(all.filter(({ data }) => data.secret !== undefined).length, 1);
});

test.serial('[W01] invalid input is refused with the name of the field', async (t) => {
  const bad: [object, RegExp][] = [
    [{}, /url/],
    [{ url: 'http://10.0.0.1/' }, /not public/],
    [{ url: 'http://169.254.169.254/latest/meta-data/' }, /not public/],
    [{ url: 'https://localhost./' }, /url/],
    [{ url: `https://example.com/${'x'.repeat(2100)}` }, /url must have at most 2048/],
    [{ url: URL, event_types: [] }, /event_types/],
    [{ url: URL, event_types: ['chat.message.invented'] }, /event_types/],
    [{ url: URL, conversation_id: 'x' }, /conversation_id/],
    [{ url: URL, max_per_sec: 0 }, /max_per_sec/],
    [{ url: URL, secret: 'whsec_short' }, /secret/],
    [{ url: URL, headers: { 'Webhook-Id': 'mine' } }, /headers/],
    [{ url: URL, headers: { Host: 'inside' } }, /headers/],
    [{ url: URL, headers: { 'x-a': 'b\r\nx-c: d' } }, /headers/],
    [{ url: URL, headers: { 'x a': 'b' } }, /headers/],
    [{ url: URL, unknown: 1 }, /unknown/],
  ];
  // A name of loopback is one that WEBHOOK_ALLOW_CIDRS of these tests would let pass.
  for (const [body, message] of bad.filter(([body]) => !JSON.stringify(body).includes('localhost'))) {
    const { status, error } = await ask('webhooks.endpoints.create', { body });
    t.is(status, 400, JSON.stringify(body).slice(0, 80));
    t.regex(error!.message, message);
  }
  const { id } = (await ask('webhooks.endpoints.create', { body: { url: URL } })).data;
  for (const [body, message] of bad.slice(1).filter(([body]) => !JSON.stringify(body).includes('localhost'))) {
    const { error } = await ask('webhooks.endpoints.update', { id, body });
    t.regex(error!.message, message);
  }
  const late = { since: '2026-01-02T00:00:00Z', until: '2026-01-01T00:00:00Z' };
  for (const body of [late, { since: 'yesterday' }, {}])
    t.is((await ask('webhooks.deliveries.recover', { id, body })).status, 400);
});

test.serial(
  '[W01] only service tokens with the scope are accepted, and a token is shown once and can be revoked',
  async (t) => {
    const person = await system.api.register();
    t.is((await ask('webhooks.endpoints.list', { token: person.access_token })).status, 401);
    t.is((await system.api.ask('webhooks.endpoints.list')).status, 401);
    t.is((await ask('webhooks.endpoints.list', { token: `${system.admin}x` })).status, 401);
    const make = async (scopes: string[], more = {}) => {
      const { data } = await ask('serviceTokens.create', { body: { name: 'crm', scopes, ...more } });
      return data;
    };
    const [hooks, pay, all] = [
      await make(['webhooks']),
      await make(['payments']),
      await make(['admin'], { expires_in_days: 1 }),
    ];
    t.is((await ask('webhooks.endpoints.list', { token: hooks.token })).status, 200);
    t.is((await ask('webhooks.endpoints.list', { token: pay.token })).error!.code, 'forbidden');
    t.is((await ask('webhooks.endpoints.list', { token: all.token })).status, 200);
    t.is(
      (await ask('serviceTokens.create', { token: hooks.token, body: { name: 'x', scopes: ['admin'] } })).status,
      403,
    );
    const { items } = (await ask('serviceTokens.list')).data;
    t.false(items.some((one) => 'token' in one));
    await system.env.db.query("update service_tokens set expires_at = now() - interval '1 second' where id = $1", [
      all.id,
    ]);
    t.is((await ask('webhooks.endpoints.list', { token: all.token })).status, 401);
    t.is((await ask('serviceTokens.delete', { id: hooks.id })).status, 200);
    t.is((await ask('webhooks.endpoints.list', { token: hooks.token })).status, 401);
    t.is((await ask('serviceTokens.delete', { id: hooks.id })).status, 404);
    const rows = await system.env.db.query("select encode(hash, 'escape') as hash from service_tokens");
    t.false(JSON.stringify(rows).includes(pay.token.slice(4)));
  },
);

test.serial('[W01] an endpoint gets only events that match its filters, with its custom headers', async (t) => {
  const receiver = await Receiver.start();
  const [mine, other] = [await system.startConversation(), await system.startConversation()];
  await system.createEndpoint({
    url: receiver.url,
    event_types: ['chat.message.created'],
    conversation_id: mine.conversation,
    headers: { authorization: 'Bearer of-the-integrator', 'X-Tenant': 'seven' },
  });
  await other.say();
  await mine.say();
  await system.api.ask('messages.markRead', { token: mine.b.access_token, id: mine.conversation, body: { seq: 1 } });
  await mine.say();
  const got = await receiver.waitForCount(2);
  await system.env.settle();
  t.deepEqual(
    got.map(({ event }) => [event.type, event.data.conversation_id]),
    [
      ['chat.message.created', mine.conversation],
      ['chat.message.created', mine.conversation],
    ],
  );
  t.like(got[0]!.headers, { authorization: 'Bearer of-the-integrator', 'x-tenant': 'seven' });
  t.is(got[0]!.headers['content-type'], 'application/json');
});

const signatures = (got: ReceivedRequest): string[] => String(got.headers['webhook-signature']).split(' ');

test.serial('[W01] endpoints from the environment are created, changed and removed with the variable', async (t) => {
  const receiver = await Receiver.start();
  const secret = `whsec_${Buffer.alloc(24, 9).toString('base64')}`;
  const list = async () =>
    (await ask('webhooks.endpoints.list', { query: { limit: 100 } })).data.items.filter(
      (one) => one.source === 'environment',
    );
  const run = async (endpoints: unknown): Promise<void> => {
    const CHAT_WEBHOOK_ENDPOINTS_JSON = JSON.stringify(endpoints);
    const worker = await system.env.spawn('webhook', { CHAT_WEBHOOK_ENDPOINTS_JSON });
    await worker.stop();
  };
  await run([{ url: receiver.url, secret, event_types: ['webhook.test'] }]);
  const [first] = await list();
  t.like(first, { url: receiver.url, event_types: ['webhook.test'] });
  await ask('webhooks.endpoints.test', { id: first!.id, body: {} });
  const [got] = await receiver.waitForCount(1);
  t.is(
    signatures(got!)[0],
    new Webhook(secret).sign(got!.id, new Date(Number(got!.headers['webhook-timestamp']) * 1_000), got!.body),
  );
  await run([{ url: receiver.url, secret, ordered: true }]);
  const again = await list();
  t.is(again.length, 1);
  t.like(again[0], { id: first!.id, ordered: true, event_types: null });
  t.is(
    (await ask('webhooks.endpoints.rotateSecret', { id: first!.id, body: {} })).status,
    409,
    'the variable has its secret',
  );
  await run([]);
  t.deepEqual(await list(), []);
  const { config } = system.env;
  for (const wrong of [
    '{',
    '[{}]',
    `[{"url":"http://10.0.0.1/","secret":"${secret}"}]`,
    '[{"url":"https://example.com/","secret":"x"}]',
  ])
    await t.throwsAsync(
      syncEnvironmentEndpoints(system.env.db, openWebhookEncryption(config), {
        config: { ...config, CHAT_WEBHOOK_ENDPOINTS_JSON: wrong },
        guard: openEgressGuard(config, 'WEBHOOK_ALLOW_CIDRS'),
      }),
      { message: /^CHAT_WEBHOOK_ENDPOINTS_JSON/ },
    );
});

test.serial('[W01] the number of endpoints is limited', async (t) => {
  const { items } = (await ask('webhooks.endpoints.list', { query: { limit: 100 } })).data;
  for (let n = items.length; n < 30; n++)
    t.is((await ask('webhooks.endpoints.create', { body: { url: URL } })).status, 201);
  t.is((await ask('webhooks.endpoints.create', { body: { url: URL } })).error!.code, 'forbidden');
  const again = await ask('webhooks.endpoints.create', { body: { url: URL }, headers: { 'idempotency-key': 'k-1' } });
  t.is(again.status, 200, 'one that is there already may be asked for again');
});

test('[W01] npm run admin -- token prints a token that a running system accepts', (t) => {
  const run = (words: string[], env: Record<string, string>): string =>
    execFileSync(process.execPath, ['services/admin.ts', ...words], {
      encoding: 'utf8',
      env: { PATH: process.env.PATH, ...env },
      stdio: 'pipe',
    });
  t.is(run(['token'], { DATA_DIR: system.env.dir }).trim(), system.admin);
  t.is(run(['token'], { NATS_SECRET: system.env.config.NATS_SECRET! }).trim(), system.admin);
  t.is(run(['token'], { ADMIN_TOKEN: 'mine', DATA_DIR: '/nowhere' }).trim(), 'mine');
  t.throws(() => run(['token'], { DATA_DIR: '/nowhere' }), { message: /nothing ran/ });
  t.is(run(['payments-secret'], { DATA_DIR: system.env.dir }).trim(), paymentsSecret(system.env.config)!);
  t.throws(() => run(['payments-secret'], { NATS_SECRET: 'x', NODE_ENV: 'production' }), { message: /PAYMENTS_/ });
  t.regex(run(['--help'], {}), /token/);
});
