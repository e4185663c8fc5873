/** Keys that need no configuration of their own: they follow from NATS_SECRET, which every service of a system has. */
import { hkdfSync } from 'node:crypto';
import type { Config } from '../config/index.ts';

/** 32 bytes (HKDF-SHA-256, RFC 5869). @throws when there is no NATS_SECRET. */
export function derivedKey({ NATS_SECRET }: Pick<Config, 'NATS_SECRET'>, purpose: string): Buffer {
  if (!NATS_SECRET) throw new Error(`NATS_SECRET is not set, and nothing else says the ${purpose}`);
  return Buffer.from(hkdfSync('sha256', NATS_SECRET, 'sealwire', purpose, 32));
}

/** The token that makes the first service tokens: ADMIN_TOKEN, or what follows from the secret. */
export const adminToken = (config: Pick<Config, 'ADMIN_TOKEN' | 'NATS_SECRET'>): string =>
  config.ADMIN_TOKEN || `swt_${derivedKey(config, 'admin token').toString('base64url')}`;
