/** CHAT_WEBHOOK_ENDPOINTS_JSON: endpoints that are there whenever the service runs, and gone once the variable says so. */
import Type from 'typebox';
import type { Encryption } from '../../shared/auth/encryption.ts';
import { ApiError } from '../../shared/contract/errors.ts';
import { EnvironmentEndpoint } from '../../shared/contract/http/webhooks.ts';
import { checker } from '../../shared/contract/validate.ts';
import type { Database } from '../../shared/db/database.ts';
import { derivedId } from '../../shared/ids.ts';
import { type Checks, insertEndpoint, updateEndpoint } from '../../shared/webhooks/endpoints.ts';

const NAME = 'CHAT_WEBHOOK_ENDPOINTS_JSON';
const check = checker(Type.Array(EnvironmentEndpoint, { maxItems: 100 }), NAME);

/** @throws naming the variable and the field; values are not repeated. */
function parse(text: string | undefined): EnvironmentEndpoint[] {
  if (!text) return [];
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    throw new Error(`${NAME} is not JSON`);
  }
  return check(value);
}

/** Brings the rows to what the variable says; an endpoint is the same one while its url and secret are. */
export async function fromEnvironment(db: Database, sealer: Encryption, checks: Checks): Promise<void> {
  const wanted = parse(checks.config.CHAT_WEBHOOK_ENDPOINTS_JSON);
  const ids: string[] = [];
  try {
    await db.transaction(async ({ em, query }) => {
      for (const one of wanted) {
        const { url, secret, ...rest } = one;
        const id = derivedId(0, `endpoint ${url} ${secret}`);
        ids.push(id);
        const { created } = await insertEndpoint(em, sealer, checks, id, one, 'environment');
        if (created) continue;
        const {
          event_types = null,
          conversation_id = null,
          headers = null,
          ordered = false,
          max_per_sec = null,
        } = rest;
        const whole = { event_types, conversation_id, headers, ordered, max_per_sec };
        await updateEndpoint(em, sealer, checks, id, {
          ...whole,
          ...(rest.description !== undefined && { description: rest.description }),
        });
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
