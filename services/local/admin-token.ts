/** What follows from a system's NATS_SECRET, for its operator: DATA_DIR's where none is given. */
import { adminToken, paymentsSecret } from '../../shared/auth/derived.ts';
import type { Config } from '../../shared/config/index.ts';
import { secretsThere, UnusableSecrets } from './data-dir.ts';

/** @throws when there is no secret, and nothing ever ran in DATA_DIR. */
function withSecret(config: Config): Config {
  if (config.NATS_SECRET) return config;
  try {
    return { ...config, NATS_SECRET: secretsThere(config.DATA_DIR).nats };
  } catch (cause) {
    if (cause instanceof UnusableSecrets) throw cause;
    throw new Error(`nothing ran in ${config.DATA_DIR}: set DATA_DIR or NATS_SECRET`, { cause });
  }
}

/** The bootstrap service token. */
export const tokenOf = (config: Config): string => config.ADMIN_TOKEN || adminToken(withSecret(config));

/** What payment events are signed with. @throws in production without PAYMENTS_WEBHOOK_SECRET. */
export function paymentsSecretOf(config: Config): string {
  const secret = config.PAYMENTS_WEBHOOK_SECRET || paymentsSecret(withSecret(config));
  if (!secret) throw new Error('PAYMENTS_WEBHOOK_SECRET is not set, and production makes none up');
  return secret;
}
