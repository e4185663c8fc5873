/** Endpoints as rows: checked, sealed, written. For the API and for those from the environment. */
import { promises as dns } from 'node:dns';
import type { Encryption } from '../auth/encryption.ts';
import type { Config } from '../config/index.ts';
import { ApiError } from '../contract/errors.ts';
import type { ChangeEndpoint, CreateEndpoint } from '../contract/http/webhooks.ts';
import type { Query } from '../db/database.ts';
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
  query: Query,
  sealer: Encryption,
  checks: Checks,
  id: string,
  { secret: given, headers, ...body }: CreateEndpoint,
  source: 'api' | 'environment',
): Promise<Written> {
  const url = await checkUrl(body.url, checks);
  checkHeaders(headers);
  const { secret, public_key } = newEndpointSecret(given);
  const [row] = await query<{ id: string }>(
    `insert into webhook_endpoints (id, url, description, source, event_types, conversation_id, ordered, max_per_sec,
       header_names, headers_sealed, secret_sealed, public_key)
     values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12) on conflict (id) do nothing returning id`,
    [
      id,
      url,
      body.description ?? null,
      source,
      body.event_types ?? null,
      body.conversation_id ?? null,
      body.ordered ?? false,
      body.max_per_sec ?? null,
      Object.keys(headers ?? {}),
      headers ? sealer.seal(JSON.stringify(headers), `${id} headers`) : null,
      sealer.seal(JSON.stringify(secret), `${id} secret`),
      public_key,
    ],
  );
  return row ? { id, created: true, secret: secret.hmac } : { id, created: false };
}

/** Sets what the change names; enabling forgets the failures. @returns false where there is no such endpoint. */
export async function updateEndpoint(
  query: Query,
  sealer: Encryption,
  checks: Checks,
  id: string,
  change: ChangeEndpoint,
): Promise<boolean> {
  const values: unknown[] = [id];
  const sets = ['version = version + 1', 'updated_at = now()'];
  const set = (column: string, value: unknown): void => {
    sets.push(`${column} = $${values.push(value)}`);
  };
  checkHeaders(change.headers);
  if (change.url !== undefined) set('url', await checkUrl(change.url, checks));
  for (const name of ['description', 'event_types', 'conversation_id', 'ordered', 'max_per_sec'] as const)
    if (change[name] !== undefined) set(name, change[name]);
  if (change.headers !== undefined) {
    set('header_names', Object.keys(change.headers ?? {}));
    set('headers_sealed', change.headers && sealer.seal(JSON.stringify(change.headers), `${id} headers`));
  }
  if (change.enabled !== undefined) {
    set('enabled', change.enabled);
    set('disabled_reason', change.enabled ? null : 'by request');
    if (change.enabled) set('failing_since', null);
  }
  const rows = await query(`update webhook_endpoints set ${sets.join(', ')} where id = $1 returning id`, values);
  return rows.length > 0;
}

/** The current secret becomes the old one, which signs as well until `until`. */
export async function rotateSecret(
  query: Query,
  sealer: Encryption,
  id: string,
  given: string | undefined,
  until: Date,
): Promise<{ secret: string; public_key: string } | undefined> {
  const { secret, public_key } = newEndpointSecret(given);
  const rows = await query(
    `update webhook_endpoints set old_secret_sealed = secret_sealed, old_secret_until = $2, secret_sealed = $3,
       public_key = $4, version = version + 1, updated_at = now() where id = $1 returning id`,
    [id, until, sealer.seal(JSON.stringify(secret), `${id} secret`), public_key],
  );
  return rows.length ? { secret: secret.hmac, public_key } : undefined;
}
