/** Secrets at rest: AES-256-GCM under a key with an id, bound to the place where they stand. The first key writes, all of them read. */
import { createCipheriv, createDecipheriv, createHash, randomBytes } from 'node:crypto';

export interface Encryption {
  /** `[1][key id 4][nonce 12][tag 16][ciphertext]`; `place` is authenticated with it, e.g. `users.name:<id>`. */
  encrypt(text: string, place: string): Buffer;
  /** @throws when it was sealed under an unknown key, for another place, or was changed. */
  decrypt(sealed: Uint8Array, place: string): string;
  /** Whether sealed under the key that writing uses. */
  isCurrent(sealed: Uint8Array): boolean;
}
export interface EncryptionKey {
  /** First bytes of its SHA-256. */
  id: Buffer;
  bytes: Buffer;
}
export type EncryptionKeys = [EncryptionKey, ...EncryptionKey[]];

const VERSION = 1;
const NONCE = 12;
const TAG = 16;
export const KEY_ID = 4;
const HEAD = 1 + KEY_ID + NONCE + TAG;

/** `name`: the setting that has the keys, for what is said when one is missing. */
export function openEncryption(name: string, keys: EncryptionKeys): Encryption {
  const [writing] = keys;
  const byId = new Map(keys.map(({ id, bytes }) => [id.toString('hex'), bytes]));
  return {
    encrypt(text, place) {
      const nonce = randomBytes(NONCE);
      const cipher = createCipheriv('aes-256-gcm', writing.bytes, nonce).setAAD(Buffer.from(place));
      const body = Buffer.concat([cipher.update(text, 'utf8'), cipher.final()]);
      return Buffer.concat([Buffer.of(VERSION), writing.id, nonce, cipher.getAuthTag(), body]);
    },
    decrypt(sealed, place) {
      const bytes = Buffer.from(sealed.buffer, sealed.byteOffset, sealed.length);
      const key = bytes[0] === VERSION ? byId.get(bytes.toString('hex', 1, 1 + KEY_ID)) : undefined;
      if (!key || bytes.length < HEAD) throw new Error(`encrypted under a key that is not in ${name}`);
      const nonce = bytes.subarray(1 + KEY_ID, 1 + KEY_ID + NONCE);
      const decipher = createDecipheriv('aes-256-gcm', key, nonce, { authTagLength: TAG });
      decipher.setAAD(Buffer.from(place)).setAuthTag(bytes.subarray(HEAD - TAG, HEAD));
      return Buffer.concat([decipher.update(bytes.subarray(HEAD)), decipher.final()]).toString('utf8');
    },
    isCurrent: (sealed) => writing.id.equals(sealed.subarray(1, 1 + KEY_ID)),
  };
}

export const encryptionKey = (bytes: Buffer): EncryptionKey => ({
  id: createHash('sha256').update(bytes).digest().subarray(0, KEY_ID),
  bytes,
});

/** @throws naming the setting when there is none, or one is not 32 bytes in base64. */
export function readEncryptionKeys(name: string, list: readonly string[]): EncryptionKeys {
  const keys = list.map((text) => {
    const bytes = Buffer.from(text, 'base64');
    if (bytes.length !== 32) throw new Error(`${name} must be keys of 32 bytes in base64: openssl rand -base64 32`);
    return encryptionKey(bytes);
  });
  if (!keys.length) throw new Error(`${name} is not set: make a key with openssl rand -base64 32`);
  return keys as EncryptionKeys;
}
