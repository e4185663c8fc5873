/** What identifies a person, at rest: sealed, and with a blind index (HMAC-SHA256 under another key) to find it by. */
import { createHmac, hkdfSync } from 'node:crypto';
import type { Config } from '../config/index.ts';
import { type Encryption, type EncryptionKey, KEY_ID, openEncryption, readEncryptionKeys } from './encryption.ts';

export interface BlindIndex extends Encryption {
  /** The blind index of a text, `[key id 4][HMAC 32]`: the same text of the same kind has the same. */
  lookup(kind: string, text: string): Buffer;
  /** The indexes under every key, the one for writing first. */
  lookups(kind: string, text: string): Buffer[];
  /** HMAC for short secrets that SHA-256 alone would not hide, such as codes. */
  mac(text: string): Buffer;
  /** Whether made under the key that writing uses. */
  currentLookup(lookup: Uint8Array): boolean;
}

export function openBlindIndex(config: Pick<Config, 'PERSONAL_KEYS' | 'PERSONAL_INDEX_KEYS'>): BlindIndex {
  const keys = readEncryptionKeys('PERSONAL_KEYS', config.PERSONAL_KEYS);
  const indexKeys = readEncryptionKeys('PERSONAL_INDEX_KEYS', config.PERSONAL_INDEX_KEYS);
  if (keys.some(({ id }) => indexKeys.some((other) => other.id.equals(id))))
    throw new Error('PERSONAL_KEYS and PERSONAL_INDEX_KEYS must be different keys');
  const [indexing] = indexKeys;
  const macKey = Buffer.from(hkdfSync('sha256', indexing.bytes, '', 'codes', 32));
  const index = ({ id, bytes }: EncryptionKey, kind: string, text: string): Buffer =>
    Buffer.concat([id, createHmac('sha256', bytes).update(`${kind}\0${text}`).digest()]);

  return {
    ...openEncryption('PERSONAL_KEYS', keys),
    lookup: (kind, text) => index(indexing, kind, text),
    lookups: (kind, text) => indexKeys.map((key) => index(key, kind, text)),
    mac: (text) => createHmac('sha256', macKey).update(text).digest(),
    currentLookup: (lookup) => indexing.id.equals(lookup.subarray(0, KEY_ID)),
  };
}
