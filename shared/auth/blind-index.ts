/**
 * Protects personal data at rest: encrypts it, and makes blind indexes by which it is found. A blind index is an HMAC-SHA256
 * under another key, so that it reveals nothing without that key.
 */
import { createHmac, hkdfSync } from 'node:crypto';
import type { Config } from '../config/index.ts';
import { type Encryption, type EncryptionKey, KEY_ID_BYTES, openEncryption, readEncryptionKeys } from './encryption.ts';

export interface BlindIndex extends Encryption {
  /** Returns the blind index of a text, `[key id 4][HMAC 32]`. Equal texts of a kind have equal indexes. */
  indexOf(kind: string, text: string): Buffer;
  /** Returns the indexes under every key, the one for writing first: while keys change, rows have either. */
  indexesOf(kind: string, text: string): Buffer[];
  /** Returns the HMAC of a short secret, such as a code, which SHA-256 alone would not hide. */
  mac(text: string): Buffer;
  /** Whether an index was made under the key that writing uses now. */
  isCurrentIndex(index: Uint8Array): boolean;
}

export function openBlindIndex(config: Pick<Config, 'PERSONAL_KEYS' | 'PERSONAL_INDEX_KEYS'>): BlindIndex {
  const keys = readEncryptionKeys('PERSONAL_KEYS', config.PERSONAL_KEYS);
  const indexKeys = readEncryptionKeys('PERSONAL_INDEX_KEYS', config.PERSONAL_INDEX_KEYS);
  if (keys.some(({ id }) => indexKeys.some((other) => other.id.equals(id))))
    throw new Error('PERSONAL_KEYS and PERSONAL_INDEX_KEYS must be different keys');
  const [writing] = indexKeys;
  const macKey = Buffer.from(hkdfSync('sha256', writing.bytes, '', 'codes', 32));
  const indexUnder = ({ id, bytes }: EncryptionKey, kind: string, text: string): Buffer =>
    Buffer.concat([id, createHmac('sha256', bytes).update(`${kind}\0${text}`).digest()]);

  return {
    ...openEncryption('PERSONAL_KEYS', keys),
    indexOf: (kind, text) => indexUnder(writing, kind, text),
    indexesOf: (kind, text) => indexKeys.map((key) => indexUnder(key, kind, text)),
    mac: (text) => createHmac('sha256', macKey).update(text).digest(),
    isCurrentIndex: (index) => writing.id.equals(index.subarray(0, KEY_ID_BYTES)),
  };
}
