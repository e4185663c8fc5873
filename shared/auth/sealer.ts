/**
 * What identifies a person, at rest: AES-256-GCM under a key with an id, bound to its place, and a blind index (HMAC-SHA256
 * under another key) to find it by. The first key of each list is used for writing, all of them for reading.
 */
import { createCipheriv, createDecipheriv, createHash, createHmac, hkdfSync, randomBytes } from 'node:crypto';
import type { Config } from '../config/index.ts';

export interface Sealer {
  /** `[1][key id 4][nonce 12][tag 16][ciphertext]`; `place` is authenticated with it, e.g. `users.name:<id>`. */
  seal(text: string, place: string): Buffer;
  /** @throws when it was sealed under an unknown key, for another place, or was changed. */
  open(sealed: Uint8Array, place: string): string;
  /** The blind index of a text, `[key id 4][HMAC 32]`: the same text of the same kind has the same. */
  lookup(kind: string, text: string): Buffer;
  /** The indexes under every key, the one for writing first. */
  lookups(kind: string, text: string): Buffer[];
  /** HMAC for short secrets that SHA-256 alone would not hide, such as codes. */
  mac(text: string): Buffer;
  /** Whether sealed or indexed under the key that writing uses. */
  current(bytes: Uint8Array, what: 'sealed' | 'lookup'): boolean;
}

interface Key {
  id: Buffer;
  bytes: Buffer;
}
const VERSION = 1;
const ID = 4;
const NONCE = 12;
const TAG = 16;
const HEAD = 1 + ID + NONCE + TAG;

export function openSealer(config: Pick<Config, 'PERSONAL_KEYS' | 'PERSONAL_INDEX_KEYS'>): Sealer {
  const keys = readKeys('PERSONAL_KEYS', config.PERSONAL_KEYS);
  const indexKeys = readKeys('PERSONAL_INDEX_KEYS', config.PERSONAL_INDEX_KEYS);
  if (keys.some(({ id }) => indexKeys.some((other) => other.id.equals(id))))
    throw new Error('PERSONAL_KEYS and PERSONAL_INDEX_KEYS must be different keys');
  const [writing, indexing] = [keys[0]!, indexKeys[0]!];
  const byId = new Map(keys.map((key) => [key.id.toString('hex'), key.bytes]));
  const macKey = Buffer.from(hkdfSync('sha256', indexing.bytes, '', 'codes', 32));
  const index = ({ id, bytes }: Key, kind: string, text: string): Buffer =>
    Buffer.concat([id, createHmac('sha256', bytes).update(`${kind}\0${text}`).digest()]);

  return {
    seal(text, place) {
      const nonce = randomBytes(NONCE);
      const cipher = createCipheriv('aes-256-gcm', writing.bytes, nonce).setAAD(Buffer.from(place));
      const body = Buffer.concat([cipher.update(text, 'utf8'), cipher.final()]);
      return Buffer.concat([Buffer.of(VERSION), writing.id, nonce, cipher.getAuthTag(), body]);
    },
    open(sealed, place) {
      const bytes = Buffer.from(sealed.buffer, sealed.byteOffset, sealed.length);
      const key = bytes[0] === VERSION ? byId.get(bytes.toString('hex', 1, 1 + ID)) : undefined;
      if (!key || bytes.length < HEAD) throw new Error('sealed under a key that is not in PERSONAL_KEYS');
      const nonce = bytes.subarray(1 + ID, 1 + ID + NONCE);
      const decipher = createDecipheriv('aes-256-gcm', key, nonce, { authTagLength: TAG });
      decipher.setAAD(Buffer.from(place)).setAuthTag(bytes.subarray(HEAD - TAG, HEAD));
      return Buffer.concat([decipher.update(bytes.subarray(HEAD)), decipher.final()]).toString('utf8');
    },
    lookup: (kind, text) => index(indexing, kind, text),
    lookups: (kind, text) => indexKeys.map((key) => index(key, kind, text)),
    mac: (text) => createHmac('sha256', macKey).update(text).digest(),
    current(bytes, what) {
      const at = what === 'sealed' ? 1 : 0;
      return (what === 'sealed' ? writing : indexing).id.equals(bytes.subarray(at, at + ID));
    },
  };
}

function readKeys(name: string, list: readonly string[]): [Key, ...Key[]] {
  const keys = list.map((text) => {
    const bytes = Buffer.from(text, 'base64');
    if (bytes.length !== 32) throw new Error(`${name} must be keys of 32 bytes in base64: openssl rand -base64 32`);
    return { id: createHash('sha256').update(bytes).digest().subarray(0, ID), bytes };
  });
  if (!keys.length) throw new Error(`${name} is not set: make a key with openssl rand -base64 32`);
  return keys as [Key, ...Key[]];
}
