/** Signatures of the Standard Webhooks scheme, rotation of secrets, and secrets at rest. */
import { createPublicKey, verify } from 'node:crypto';
import test from 'ava';
import { Webhook } from 'standardwebhooks';
import { uuid7 } from '../../shared/ids.ts';
import { openWebhookEncryption } from '../../shared/webhooks/secrets.ts';
import type { Api } from '../api/http.ts';
import { type ReceivedRequest, Receiver } from './receiver.ts';
import { WebhookSystem } from './system.ts';

let system: WebhookSystem;
test.before(async () => {
  system = await WebhookSystem.start();
  await system.startSender();
});
test.after.always(() => system?.stop());

const ask: Api['ask'] = (name, more = {}) => system.api.ask(name, { token: system.admin, ...more });
const URL = 'https://example.com/hook';
const signatures = (got: ReceivedRequest): string[] => String(got.headers['webhook-signature']).split(' ');

test.serial(
  '[W03] both signatures verify: HMAC with the standardwebhooks library, ed25519 with the public key',
  async (t) => {
    const receiver = await Receiver.start();
    const endpoint = await system.createEndpoint({ url: receiver.url, event_types: ['webhook.test'] });
    await system.api.ask('webhooks.endpoints.test', { token: system.admin, id: endpoint.id, body: {} });
    const [got] = await receiver.waitForCount(1);
    const headers = got!.headers as Record<string, string>;
    t.notThrows(() => new Webhook(endpoint.secret).verify(got!.body, headers));
    t.throws(() => new Webhook(endpoint.secret).verify(`${got!.body} `, headers));
    const [, v1a] = headers['webhook-signature']!.split(' ');
    const key = createPublicKey({
      key: { kty: 'OKP', crv: 'Ed25519', x: Buffer.from(endpoint.public_key.slice(5), 'base64').toString('base64url') },
      format: 'jwk',
    });
    const content = Buffer.from(`${got!.id}.${headers['webhook-timestamp']}.${got!.body}`);
    t.true(verify(null, content, key, Buffer.from(v1a!.slice('v1a,'.length), 'base64')));
    await receiver.close();
  },
);

test.serial('[W03] after a rotation both secrets sign for 24 hours, then the new one alone', async (t) => {
  const receiver = await Receiver.start();
  const given = `whsec_${Buffer.alloc(24, 7).toString('base64')}`;
  const endpoint = await system.createEndpoint({ url: receiver.url, event_types: ['webhook.test'], secret: given });
  t.is(endpoint.secret, given);
  const poke = async (n: number): Promise<ReceivedRequest> => {
    await ask('webhooks.endpoints.test', { id: endpoint.id, body: {} });
    return (await receiver.waitForCount(n))[n - 1]!;
  };
  const opens = (secret: string, got: ReceivedRequest): boolean => {
    try {
      // The library has no clock of its own: the time is the sender's.
      const now = Date.now;
      const sent = system.clock.now();
      Date.now = () => sent;
      try {
        new Webhook(secret).verify(got.body, got.headers as Record<string, string>);
      } finally {
        Date.now = now;
      }
      return true;
    } catch {
      return false;
    }
  };
  const opensByKey = (whpk: string, got: ReceivedRequest): boolean => {
    const x = Buffer.from(whpk.slice(5), 'base64').toString('base64url');
    const key = createPublicKey({ key: { kty: 'OKP', crv: 'Ed25519', x }, format: 'jwk' });
    const content = Buffer.from(`${got.id}.${got.headers['webhook-timestamp']}.${got.body}`);
    return signatures(got).some(
      (one) => one.startsWith('v1a,') && verify(null, content, key, Buffer.from(one.slice(4), 'base64')),
    );
  };
  const before = await poke(1);
  t.true(opens(given, before) && opensByKey(endpoint.public_key, before));
  const { data: rotated } = await ask('webhooks.endpoints.rotateSecret', { id: endpoint.id, body: {} });
  t.not(rotated.secret, given);
  t.true(Math.abs(Date.parse(rotated.old_until) - Date.now() - 86_400_000) < 60_000);
  const during = await poke(2);
  t.is(signatures(during).length, 4);
  for (const secret of [given, rotated.secret]) t.true(opens(secret, during));
  for (const key of [endpoint.public_key, rotated.public_key]) t.true(opensByKey(key, during));
  system.clock.advance(24 * 3_600_000 + 1_000);
  const after = await poke(3);
  t.is(signatures(after).length, 2);
  t.true(opens(rotated.secret, after) && opensByKey(rotated.public_key, after));
  t.false(opens(given, after) || opensByKey(endpoint.public_key, after));
  t.is((await ask('webhooks.endpoints.rotateSecret', { id: uuid7(), body: {} })).status, 404);
});

test.serial(
  '[W03] secrets and header values are encrypted at rest, bound to their row, and open with any of the keys',
  async (t) => {
    const endpoint = await system.createEndpoint({ url: URL, headers: { 'x-key': 'my header value' } });
    const [row] = await system.env.db.query<{ secret_sealed: Buffer; headers_sealed: Buffer }>(
      'select secret_sealed, headers_sealed from webhook_endpoints where id = $1',
      [endpoint.id],
    );
    for (const sealed of [row!.secret_sealed, row!.headers_sealed])
      for (const text of [endpoint.secret.slice(6), 'my header value']) t.false(sealed.includes(text));
    const [one, two] = [1, 2].map((n) => Buffer.alloc(32, n).toString('base64'));
    const old = openWebhookEncryption({ WEBHOOK_SECRETS_KEYS: [one!], NATS_SECRET: undefined });
    const sealed = old.encrypt('text', 'a');
    t.is(
      openWebhookEncryption({ WEBHOOK_SECRETS_KEYS: [two!, one!], NATS_SECRET: undefined }).decrypt(sealed, 'a'),
      'text',
    );
    t.throws(() =>
      openWebhookEncryption({ WEBHOOK_SECRETS_KEYS: [two!], NATS_SECRET: undefined }).decrypt(sealed, 'a'),
    );
    t.throws(() => old.decrypt(sealed, 'b'));
    t.throws(() => openWebhookEncryption({ WEBHOOK_SECRETS_KEYS: ['c2hvcnQ='], NATS_SECRET: undefined }), {
      message: /WEBHOOK_SECRETS_KEYS/,
    });
    t.throws(() => openWebhookEncryption({ WEBHOOK_SECRETS_KEYS: [], NATS_SECRET: undefined }), {
      message: /NATS_SECRET/,
    });
  },
);
