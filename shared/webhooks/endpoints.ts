/** Checks, encrypts and writes webhook endpoints, for the API and for those that the environment names. */
import { promises as dns } from 'node:dns';
import { type EntityData, raw, sql } from '@mikro-orm/core';
import type { Encryption } from '../auth/encryption.ts';
import type { Config } from '../config/index.ts';
import { ApiError } from '../contract/errors.ts';
import type { ChangeEndpoint, CreateEndpoint } from '../contract/http/webhooks.ts';
import type { EntityManager } from '../db/database.ts';
import { WebhookEndpoint, type WebhookEndpoint as WebhookEndpointRow } from '../db/entities.ts';
import { addressLiteral, type EgressGuard } from '../egress-guard.ts';
import { headersContext, newEndpointSecret, secretContext } from './secrets.ts';

const invalid = (field: string, reason: string): never => {
  throw new ApiError('invalid_request', `body: ${field} ${reason}`, { details: { field } });
};

export interface EndpointChecks {
  config: Config;
  guard: EgressGuard;
  /** Addresses of a name, by the system's resolver unless a test replaces it. */
  resolve?: ((hostname: string) => Promise<string[]>) | undefined;
}

/**
 * Returns the URL in its normal form. Refuses early, with the reason, what the egress guard would refuse at every attempt.
 * @throws {ApiError} `invalid_request`
 */
export async function checkUrl(text: string, { config, guard, resolve = resolveAll }: EndpointChecks): Promise<string> {
  if (text.length > config.WEBHOOK_URL_MAX_LENGTH)
    invalid('url', `must have at most ${config.WEBHOOK_URL_MAX_LENGTH} characters`);
  const url = URL.parse(text) ?? invalid('url', 'must be a URL');
  if (url.protocol !== 'https:' && (url.protocol !== 'http:' || config.NODE_ENV === 'production'))
    invalid('url', 'must begin with https://');
  if (url.username || url.password) invalid('url', 'must not contain a user or password; use headers');
  if (url.hash) invalid('url', 'must not contain a fragment');
  const address = addressLiteral(url.hostname);
  // A name that does not resolve now is accepted: each attempt resolves it again.
  const addresses = address ? [address] : await resolve(url.hostname).catch(() => []);
  if (!addresses.every(guard))
    invalid('url', 'must not lead to an address that is not public (see WEBHOOK_ALLOW_CIDRS)');
  return url.href;
}

const resolveAll = async (name: string): Promise<string[]> =>
  (await dns.lookup(name, { all: true })).map(({ address }) => address);

const HEADER_NAME = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/;
const HEADER_VALUE = /^[\t -~]*$/;
/** Headers that the sender sets itself, or that belong to HTTP. */
const RESERVED_HEADER =
  /^(webhook-|proxy-|sec-|(host|connection|keep-alive|content-length|content-type|content-encoding|transfer-encoding|te|trailer|upgrade|expect|cookie|user-agent)$)/;

function checkHeaders(headers: Record<string, string> | null | undefined): void {
  const all = Object.entries(headers ?? {});
  if (all.length > 20) invalid('headers', 'must be at most 20');
  for (const [name, value] of all) {
    if (!HEADER_NAME.test(name) || !HEADER_VALUE.test(value)) invalid('headers', 'must be printable ASCII');
    if (RESERVED_HEADER.test(name.toLowerCase()))
      invalid('headers', 'must not name a header that is set by the sender or by HTTP itself');
  }
}

interface InsertedEndpoint {
  id: string;
  created: boolean;
  /** Present only when the endpoint is new. */
  secret?: string;
}

/** Inserts the endpoint unless its id exists. @throws {ApiError} `invalid_request` naming the field. */
export async function insertEndpoint(
  em: EntityManager,
  encryption: Encryption,
  checks: EndpointChecks,
  id: string,
  { secret: given, headers, ...body }: CreateEndpoint,
  source: 'api' | 'environment',
): Promise<InsertedEndpoint> {
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
      headers_sealed: headers ? encryption.encrypt(JSON.stringify(headers), headersContext(id)) : null,
      secret_sealed: encryption.encrypt(JSON.stringify(secret), secretContext(id)),
      public_key,
    })
    .onConflict('id')
    .ignore()
    .execute('run');
  return affectedRows ? { id, created: true, secret: secret.hmac } : { id, created: false };
}

/** Postgres counts the version, so that no two changes share one. A fragment of SQL may be used in one statement only. */
const nextVersion = () => ({ version: raw('version + 1'), updated_at: sql.now() });

/** Sets what the change names. Enabling also clears the failures. @returns false when there is no such endpoint */
export async function updateEndpoint(
  em: EntityManager,
  encryption: Encryption,
  checks: EndpointChecks,
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
    data.headers_sealed = headers && encryption.encrypt(JSON.stringify(headers), headersContext(id));
  }
  if (enabled !== undefined) {
    data.enabled = enabled;
    data.disabled_reason = enabled ? null : 'by request';
    if (enabled) data.failing_since = null;
  }
  return (await em.nativeUpdate(WebhookEndpoint, { id }, data)) > 0;
}

/**
 * Gives the endpoint a new secret. The present one becomes the old one, which signs as well until `until`.
 * @returns undefined when there is no such endpoint
 */
export async function rotateSecret(
  em: EntityManager,
  encryption: Encryption,
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
      secret_sealed: encryption.encrypt(JSON.stringify(secret), secretContext(id)),
      public_key,
    },
  );
  return rotated ? { secret: secret.hmac, public_key } : undefined;
}
