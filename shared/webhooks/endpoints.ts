/** Endpoints as rows: checked, sealed, written. For the API and for those from the environment. */
import { promises as dns } from 'node:dns';
import { type EntityData, raw, sql } from '@mikro-orm/core';
import type { Encryption } from '../auth/encryption.ts';
import type { Config } from '../config/index.ts';
import { ApiError } from '../contract/errors.ts';
import type { ChangeEndpoint, CreateEndpoint } from '../contract/http/webhooks.ts';
import type { EntityManager } from '../db/database.ts';
import { WebhookEndpoint, type WebhookEndpoint as WebhookEndpointRow } from '../db/entities.ts';
import { type Guard, literal } from '../egress-guard.ts';
import { newEndpointSecret } from './secrets.ts';

const invalid = (field: string, reason: string): never => {
  throw new ApiError('invalid_request', `body: ${field} ${reason}`, { details: { field } });
};

export interface Checks {
  config: Config;
  guard: Guard;
  /** Addresses of a name; the system's resolver unless a test plays it. */
  resolve?: ((hostname: string) => Promise<string[]>) | undefined;
}

/** Webhooks go where the operator's users say: refused early what the dial would refuse anyway, with the reason. */
export async function checkUrl(text: string, { config, guard, resolve = resolveAll }: Checks): Promise<string> {
  if (text.length > config.WEBHOOK_URL_MAX_LENGTH)
    invalid('url', `may have ${config.WEBHOOK_URL_MAX_LENGTH} characters`);
  const url = URL.parse(text) ?? invalid('url', 'is no URL');
  if (url.protocol !== 'https:' && (url.protocol !== 'http:' || config.NODE_ENV === 'production'))
    invalid('url', 'must begin with https://');
  if (url.username || url.password) invalid('url', 'may hold no user or password; use headers');
  if (url.hash) invalid('url', 'may hold no fragment');
  const address = literal(url.hostname);
  // A name that does not resolve today may tomorrow; each dial asks again.
  const addresses = address ? [address] : await resolve(url.hostname).catch(() => []);
  if (!addresses.every(guard)) invalid('url', 'leads to an address that is not public (see WEBHOOK_ALLOW_CIDRS)');
  return url.href;
}

const resolveAll = async (name: string): Promise<string[]> =>
  (await dns.lookup(name, { all: true })).map(({ address }) => address);

const NAME = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/;
const VALUE = /^[\t -~]*$/;
const OWN =
  /^(webhook-|proxy-|sec-|(host|connection|keep-alive|content-length|content-type|content-encoding|transfer-encoding|te|trailer|upgrade|expect|cookie|user-agent)$)/;

function checkHeaders(headers: Record<string, string> | null | undefined): void {
  const all = Object.entries(headers ?? {});
  if (all.length > 20) invalid('headers', 'may be 20');
  for (const [name, value] of all) {
    if (!NAME.test(name) || !VALUE.test(value)) invalid('headers', 'are printable ASCII');
    if (OWN.test(name.toLowerCase())) invalid('headers', 'names one that is set by the sender or by HTTP itself');
  }
}

export interface Written {
  id: string;
  created: boolean;
  /** Of a new endpoint. */
  secret?: string;
}

/** Inserts the endpoint unless its id is there. @throws {ApiError} `invalid_request` naming the field. */
export async function insertEndpoint(
  em: EntityManager,
  sealer: Encryption,
  checks: Checks,
  id: string,
  { secret: given, headers, ...body }: CreateEndpoint,
  source: 'api' | 'environment',
): Promise<Written> {
  const url = await checkUrl(body.url, checks);
  checkHeaders(headers);
  const { secret, public_key } = newEndpointSecret(given);
  const { affectedRows } = await em
    .createQueryBuilder(WebhookEndpoint)
    .insert({
      id,
      url,
      description: body.description ?? null,
      source,
      event_types: body.event_types ?? null,
      conversation_id: body.conversation_id ?? null,
      ordered: body.ordered ?? false,
      max_per_sec: body.max_per_sec ?? null,
      header_names: Object.keys(headers ?? {}),
      headers_sealed: headers ? sealer.seal(JSON.stringify(headers), `${id} headers`) : null,
      secret_sealed: sealer.seal(JSON.stringify(secret), `${id} secret`),
      public_key,
    })
    .onConflict('id')
    .ignore()
    .execute('run');
  return affectedRows ? { id, created: true, secret: secret.hmac } : { id, created: false };
}

/** Counted by Postgres, so that no two changes share a version. A fragment of SQL is good for one statement. */
const nextVersion = () => ({ version: raw('version + 1'), updated_at: sql.now() });

/** Sets what the change names; enabling forgets the failures. @returns false where there is no such endpoint. */
export async function updateEndpoint(
  em: EntityManager,
  sealer: Encryption,
  checks: Checks,
  id: string,
  change: ChangeEndpoint,
): Promise<boolean> {
  const { url, headers, enabled } = change;
  checkHeaders(headers);
  const data: EntityData<WebhookEndpointRow> = { ...nextVersion() };
  if (url !== undefined) data.url = await checkUrl(url, checks);
  if (change.description !== undefined) data.description = change.description;
  if (change.event_types !== undefined) data.event_types = change.event_types;
  if (change.conversation_id !== undefined) data.conversation_id = change.conversation_id;
  if (change.ordered !== undefined) data.ordered = change.ordered;
  if (change.max_per_sec !== undefined) data.max_per_sec = change.max_per_sec;
  if (headers !== undefined) {
    data.header_names = Object.keys(headers ?? {});
    data.headers_sealed = headers && sealer.seal(JSON.stringify(headers), `${id} headers`);
  }
  if (enabled !== undefined) {
    data.enabled = enabled;
    data.disabled_reason = enabled ? null : 'by request';
    if (enabled) data.failing_since = null;
  }
  return (await em.nativeUpdate(WebhookEndpoint, { id }, data)) > 0;
}

/** The current secret becomes the old one, which signs as well until `until`. */
export async function rotateSecret(
  em: EntityManager,
  sealer: Encryption,
  id: string,
  given: string | undefined,
  until: Date,
): Promise<{ secret: string; public_key: string } | undefined> {
  const { secret, public_key } = newEndpointSecret(given);
  const rotated = await em.nativeUpdate(
    WebhookEndpoint,
    { id },
    {
      ...nextVersion(),
      old_secret_sealed: raw('secret_sealed'),
      old_secret_until: until,
      secret_sealed: sealer.seal(JSON.stringify(secret), `${id} secret`),
      public_key,
    },
  );
  return rotated ? { secret: secret.hmac, public_key } : undefined;
}
