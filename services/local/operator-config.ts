/** Completes an operator's configuration with the addresses and secrets of the system that npm start runs in DATA_DIR. */
import { join } from 'node:path';
import { adminToken, paymentsSecret } from '../../shared/auth/derived.ts';
import type { Config } from '../../shared/config/index.ts';
import { postgresUrl } from './postgres.ts';
import { readSecrets, type Secrets, UnusableSecretsError } from './secrets.ts';

/** @throws when there is no NATS_SECRET, and nothing ever ran in DATA_DIR. */
function withSecret(config: Config): Config {
  if (config.NATS_SECRET) return config;
  try {
    return { ...config, NATS_SECRET: readSecrets(config.DATA_DIR).nats };
  } catch (cause) {
    if (cause instanceof UnusableSecretsError) throw cause;
    throw new Error(`nothing ran in ${config.DATA_DIR}: set DATA_DIR or NATS_SECRET`, { cause });
  }
}

/** @returns the service token that makes the other ones. */
export const resolveAdminToken = (config: Config): string => config.ADMIN_TOKEN || adminToken(withSecret(config));

/** @returns the secret that signs payment events. @throws in production without PAYMENTS_WEBHOOK_SECRET. */
export function resolvePaymentsSecret(config: Config): string {
  const secret = config.PAYMENTS_WEBHOOK_SECRET || paymentsSecret(withSecret(config));
  if (!secret) throw new Error('PAYMENTS_WEBHOOK_SECRET is not set: set it, production derives none');
  return secret;
}

/** Completes the configuration with the database and the keys of npm start in DATA_DIR. @throws when nothing runs there. */
export function withLocalDatabase(config: Config): Config {
  let secrets: Secrets | undefined;
  const own = (): Secrets => {
    secrets ??= readSecrets(config.DATA_DIR);
    return secrets;
  };
  try {
    return {
      ...config,
      DATABASE_URL: config.DATABASE_URL ?? postgresUrl(join(config.DATA_DIR, 'postgres'), own()),
      PERSONAL_KEYS: config.PERSONAL_KEYS.length ? config.PERSONAL_KEYS : [own().personal],
      PERSONAL_INDEX_KEYS: config.PERSONAL_INDEX_KEYS.length ? config.PERSONAL_INDEX_KEYS : [own().personal_index],
    };
  } catch (cause) {
    if (cause instanceof UnusableSecretsError) throw cause;
    throw new Error(
      `nothing runs in ${config.DATA_DIR}: set DATA_DIR, or DATABASE_URL, PERSONAL_KEYS and PERSONAL_INDEX_KEYS`,
      { cause },
    );
  }
}
