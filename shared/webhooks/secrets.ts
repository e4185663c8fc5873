/** Makes the secrets of webhook endpoints and signs with them: HMAC and ed25519 (Standard Webhooks), encrypted at rest. */
import { createHmac, createPrivateKey, generateKeyPairSync, type KeyObject, randomBytes, sign } from 'node:crypto';
import { deriveKey } from '../auth/derived.ts';
import { type Encryption, encryptionKey, openEncryption, readEncryptionKeys } from '../auth/encryption.ts';
import type { Config } from '../config/index.ts';

export interface EndpointSecret {
  /** `whsec_` and base64. */
  hmac: string;
  /** PKCS #8 DER in base64. */
  ed25519: string;
}

/** Contexts of encryption, see encryption.ts: neither column can be decrypted in the place of the other. */
export const secretContext = (endpoint_id: string): string => `${endpoint_id} secret`;
export const headersContext = (endpoint_id: string): string => `${endpoint_id} headers`;

/** Makes a pair of secrets. `hmac` is random unless given. `public_key`: `whpk_` and the 32 bytes in base64. */
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

export class WebhookSigner {
  readonly #hmac: Buffer;
  readonly #key: KeyObject;

  constructor({ hmac, ed25519 }: EndpointSecret) {
    this.#hmac = Buffer.from(hmac.slice('whsec_'.length), 'base64');
    this.#key = createPrivateKey({ key: Buffer.from(ed25519, 'base64'), type: 'pkcs8', format: 'der' });
  }

  /** Returns `v1,… v1a,…`: both signatures of `<id>.<unix seconds>.<body>`. */
  sign(id: string, seconds: number, body: string): string {
    const content = Buffer.from(`${id}.${seconds}.${body}`);
    const v1 = createHmac('sha256', this.#hmac).update(content).digest('base64');
    return `v1,${v1} v1a,${sign(null, content, this.#key).toString('base64')}`;
  }
}

/**
 * Opens the encryption under WEBHOOK_SECRETS_KEYS, or outside production under a key derived from NATS_SECRET.
 * @throws naming WEBHOOK_SECRETS_KEYS when a key is not 32 bytes, or NATS_SECRET when neither is set
 */
export function openWebhookEncryption(
  config: Pick<Config, 'WEBHOOK_SECRETS_KEYS' | 'NATS_SECRET'> & Partial<Pick<Config, 'NODE_ENV'>>,
): Encryption {
  const name = 'WEBHOOK_SECRETS_KEYS';
  const { [name]: given } = config;
  return openEncryption(
    name,
    given.length ? readEncryptionKeys(name, given) : [encryptionKey(deriveKey(config, name))],
  );
}
