/**
 * Keeps the endpoints that CHAT_WEBHOOK_ENDPOINTS_JSON names as rows: they exist whenever the service runs, and are deleted
 * once the variable does not name them any more.
 */
import Type from 'typebox';
import type { Encryption } from '../../shared/auth/encryption.ts';
import { ApiError } from '../../shared/contract/errors.ts';
import { EnvironmentEndpoint } from '../../shared/contract/http/webhooks.ts';
import { checker } from '../../shared/contract/validate.ts';
import type { Database } from '../../shared/db/database.ts';
import { derivedId } from '../../shared/ids.ts';
import { type EndpointChecks, insertEndpoint, updateEndpoint } from '../../shared/webhooks/endpoints.ts';

const NAME = 'CHAT_WEBHOOK_ENDPOINTS_JSON';
const check = checker(Type.Array(EnvironmentEndpoint, { maxItems: 100 }), NAME);

/** @throws naming the variable and the field; values are never quoted, because they hold secrets. */
function parseEndpoints(text: string | undefined): EnvironmentEndpoint[] {
  if (!text) return [];
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    throw new Error(`${NAME} is not JSON`);
  }
  return check(value);
}

/** Inserts, updates and deletes rows until they equal the variable. An endpoint keeps its id as long as its url and secret. */
export async function syncEnvironmentEndpoints(
  db: Database,
  encryption: Encryption,
  checks: EndpointChecks,
): Promise<void> {
  const wanted = parseEndpoints(checks.config.CHAT_WEBHOOK_ENDPOINTS_JSON);
  const ids: string[] = [];
  try {
    await db.transaction(async ({ em, query }) => {
      for (const endpoint of wanted) {
        const { url, secret, ...rest } = endpoint;
        const id = derivedId(0, `endpoint ${url} ${secret}`);
        ids.push(id);
        const { created } = await insertEndpoint(em, encryption, checks, id, endpoint, 'environment');
        if (created) continue;
        // Fields that the variable does not name go back to their defaults.
        const defaults = { event_types: null, conversation_id: null, headers: null, ordered: false, max_per_sec: null };
        await updateEndpoint(em, encryption, checks, id, { ...defaults, ...rest });
      }
      const gone = await query<{ id: string }>(
        `delete from webhook_endpoints where source = 'environment' and not id = any($1) returning id`,
        [ids],
      );
      for (const table of ['webhook_deliveries', 'webhook_attempts'])
        await query(`delete from ${table} where endpoint_id = any($1)`, [gone.map(({ id }) => id)]);
    });
  } catch (error) {
    if (error instanceof ApiError && error.code === 'invalid_request')
      throw new Error(`${NAME}: ${error.message.replace(/^body: /, '')}`);
    throw error;
  }
}
