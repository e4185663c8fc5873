/** Resolves the secrets that an operator needs: given ones, or those derived from NATS_SECRET, which may lie in DATA_DIR. */
import { adminToken, paymentsSecret } from '../../shared/auth/derived.ts';
import type { Config } from '../../shared/config/index.ts';
import { readSecrets, UnusableSecretsError } from './secrets.ts';

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
