/**
 * Encrypts secrets at rest with AES-256-GCM. The first key of a setting encrypts, all of them decrypt. A ciphertext is bound to
 * its context (column and row), so that it cannot be copied to another one.
 */
import { createCipheriv, createDecipheriv, createHash, randomBytes } from 'node:crypto';

export interface Encryption {
  /** Returns `[1][key id 4][nonce 12][tag 16][ciphertext]`. `context` is authenticated with it, e.g. `users.name:<id>`. */
  encrypt(text: string, context: string): Buffer;
  /** @throws for an unknown key, another context, or bytes that were changed */
  decrypt(encrypted: Uint8Array, context: string): string;
  /** Whether it was encrypted under the key that encrypts now. */
  isCurrent(encrypted: Uint8Array): boolean;
}
export interface EncryptionKey {
  /** First 4 bytes of the SHA-256 of the key. */
  id: Buffer;
  bytes: Buffer;
}
export type EncryptionKeys = [EncryptionKey, ...EncryptionKey[]];

const VERSION = 1;
const NONCE = 12;
const TAG = 16;
export const KEY_ID_BYTES = 4;
const HEAD = 1 + KEY_ID_BYTES + NONCE + TAG;

/** `name`: the setting that holds the keys, for error messages. */
export function openEncryption(name: string, keys: EncryptionKeys): Encryption {
  const [writing] = keys;
  const byId = new Map(keys.map(({ id, bytes }) => [id.toString('hex'), bytes]));
  return {
    encrypt(text, context) {
      const nonce = randomBytes(NONCE);
      const cipher = createCipheriv('aes-256-gcm', writing.bytes, nonce).setAAD(Buffer.from(context));
      const body = Buffer.concat([cipher.update(text, 'utf8'), cipher.final()]);
      return Buffer.concat([Buffer.of(VERSION), writing.id, nonce, cipher.getAuthTag(), body]);
    },
    decrypt(encrypted, context) {
      const bytes = Buffer.from(encrypted.buffer, encrypted.byteOffset, encrypted.length);
      const key = bytes[0] === VERSION ? byId.get(bytes.toString('hex', 1, 1 + KEY_ID_BYTES)) : undefined;
      if (!key || bytes.length < HEAD) throw new Error(`encrypted under a key that is not in ${name}`);
      const nonce = bytes.subarray(1 + KEY_ID_BYTES, 1 + KEY_ID_BYTES + NONCE);
      const decipher = createDecipheriv('aes-256-gcm', key, nonce, { authTagLength: TAG });
      decipher.setAAD(Buffer.from(context)).setAuthTag(bytes.subarray(HEAD - TAG, HEAD));
      return Buffer.concat([decipher.update(bytes.subarray(HEAD)), decipher.final()]).toString('utf8');
    },
    isCurrent: (encrypted) => writing.id.equals(encrypted.subarray(1, 1 + KEY_ID_BYTES)),
  };
}

export const encryptionKey = (bytes: Buffer): EncryptionKey => ({
  id: createHash('sha256').update(bytes).digest().subarray(0, KEY_ID_BYTES),
  bytes,
});

/** @throws naming the setting when it holds no key, or one that is not 32 bytes in base64 */
export function readEncryptionKeys(name: string, list: readonly string[]): EncryptionKeys {
  const keys = list.map((text) => {
    const bytes = Buffer.from(text, 'base64');
    if (bytes.length !== 32) throw new Error(`${name} must be keys of 32 bytes in base64: openssl rand -base64 32`);
    return encryptionKey(bytes);
  });
  if (!keys.length) throw new Error(`${name} is not set: make a key with openssl rand -base64 32`);
  return keys as EncryptionKeys;
}
