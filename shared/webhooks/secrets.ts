/** Secrets of endpoints: HMAC and ed25519 (Standard Webhooks), sealed at rest with AES-256-GCM under a key with an id. */
import {
  createCipheriv,
  createDecipheriv,
  createHash,
  createHmac,
  createPrivateKey,
  generateKeyPairSync,
  type KeyObject,
  randomBytes,
  sign,
} from 'node:crypto';
import { derivedKey } from '../auth/derived.ts';
import type { Config } from '../config/index.ts';

export interface EndpointSecret {
  /** `whsec_` and base64. */
  hmac: string;
  /** PKCS #8 DER in base64. */
  ed25519: string;
}

/** The secret is made unless given. `public_key`: `whpk_` and the 32 bytes in base64. */
export function newEndpointSecret(hmac = `whsec_${randomBytes(32).toString('base64')}`): {
  secret: EndpointSecret;
  public_key: string;
} {
  const { publicKey, privateKey } = generateKeyPairSync('ed25519');
  const raw = publicKey.export({ type: 'spki', format: 'der' }).subarray(-32);
  return {
    secret: { hmac, ed25519: privateKey.export({ type: 'pkcs8', format: 'der' }).toString('base64') },
    public_key: `whpk_${raw.toString('base64')}`,
  };
}

export class Signer {
  readonly #hmac: Buffer;
  readonly #key: KeyObject;

  constructor({ hmac, ed25519 }: EndpointSecret) {
    this.#hmac = Buffer.from(hmac.slice('whsec_'.length), 'base64');
    this.#key = createPrivateKey({ key: Buffer.from(ed25519, 'base64'), type: 'pkcs8', format: 'der' });
  }

  /** `v1,… v1a,…` over `<id>.<unix seconds>.<body>`. */
  sign(id: string, seconds: number, body: string): string {
    const content = Buffer.from(`${id}.${seconds}.${body}`);
    const v1 = createHmac('sha256', this.#hmac).update(content).digest('base64');
    return `v1,${v1} v1a,${sign(null, content, this.#key).toString('base64')}`;
  }
}

const LAYOUT = 1;
const HEAD = 1 + 4 + 12 + 16;

export interface Sealer {
  /** `where` binds the text to its row and column. */
  seal(text: string, where: string): Buffer;
  /** @throws when no key opens it, or it stood elsewhere. */
  open(sealed: Buffer, where: string): string;
}

/** @throws naming WEBHOOK_SECRETS_KEYS when a key is not 32 bytes. */
export function openSealer(config: Pick<Config, 'WEBHOOK_SECRETS_KEYS' | 'NATS_SECRET'>): Sealer {
  const given = config.WEBHOOK_SECRETS_KEYS.map((text) => Buffer.from(text, 'base64'));
  if (given.some((key) => key.length !== 32))
    throw new Error('WEBHOOK_SECRETS_KEYS must be keys of 32 bytes in base64');
  const all = given.length ? given : [derivedKey(config, 'WEBHOOK_SECRETS_KEYS')];
  const keys = new Map(all.map((key) => [createHash('sha256').update(key).digest('hex').slice(0, 8), key]));
  const [first] = keys.keys();
  return {
    seal(text, where) {
      const iv = randomBytes(12);
      const cipher = createCipheriv('aes-256-gcm', keys.get(first!)!, iv).setAAD(Buffer.from(where));
      const body = Buffer.concat([cipher.update(text, 'utf8'), cipher.final()]);
      return Buffer.concat([Buffer.from([LAYOUT]), Buffer.from(first!, 'hex'), iv, cipher.getAuthTag(), body]);
    },
    open(sealed, where) {
      const key = sealed[0] === LAYOUT ? keys.get(sealed.toString('hex', 1, 5)) : undefined;
      if (!key) throw new Error('sealed with a key that WEBHOOK_SECRETS_KEYS does not have');
      const open = createDecipheriv('aes-256-gcm', key, sealed.subarray(5, 17)).setAAD(Buffer.from(where));
      open.setAuthTag(sealed.subarray(17, HEAD));
      return Buffer.concat([open.update(sealed.subarray(HEAD)), open.final()]).toString();
    },
  };
}
