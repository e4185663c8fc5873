/** Derives keys that need no setting of their own outside production from NATS_SECRET. */
import { hkdfSync } from 'node:crypto';
import type { Config } from '../config/index.ts';

type Secret = Pick<Config, 'NATS_SECRET'> & Partial<Pick<Config, 'NODE_ENV'>>;

/** Returns 32 bytes (HKDF-SHA-256, RFC 5869). @throws without NATS_SECRET, and in production */
export function deriveKey({ NATS_SECRET, NODE_ENV }: Secret, purpose: string): Buffer {
  if (NODE_ENV === 'production') throw new Error(`NODE_ENV=production refuses a generated ${purpose}`);
  if (!NATS_SECRET) throw new Error(`NATS_SECRET is not set, from which the ${purpose} would be derived`);
  return Buffer.from(hkdfSync('sha256', NATS_SECRET, 'sealwire', purpose, 32));
}

/** Returns the token that creates the first service tokens: ADMIN_TOKEN, or outside production a derived one. */
export const adminToken = (config: Secret & Pick<Config, 'ADMIN_TOKEN'>): string =>
  config.ADMIN_TOKEN || `swt_${deriveKey(config, 'admin token').toString('base64url')}`;

/** Returns the secret that signs payment events; undefined in production until PAYMENTS_WEBHOOK_SECRET is set. */
export function paymentsSecret(
  config: Pick<Config, 'PAYMENTS_WEBHOOK_SECRET' | 'NATS_SECRET' | 'NODE_ENV'>,
): string | undefined {
  if (config.PAYMENTS_WEBHOOK_SECRET) return config.PAYMENTS_WEBHOOK_SECRET;
  if (config.NODE_ENV === 'production' || !config.NATS_SECRET) return undefined;
  return deriveKey(config, 'payments webhook secret').toString('hex');
}
