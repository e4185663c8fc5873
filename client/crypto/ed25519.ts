/** Signs messages with Ed25519 on WebCrypto. The server and everybody who has the device's signing key can check them. */
import { type Signable, signedText } from '../../shared/contract/signed.ts';
import { fromBase64, toBase64 } from './base64.ts';

const ALGORITHM = 'Ed25519';
const { subtle } = globalThis.crypto;
const signedBytes = (message: Signable): Uint8Array<ArrayBuffer> => new TextEncoder().encode(signedText(message));

export interface Signer {
  /** Returns the key to publish as `signing_key`: 32 bytes as Base64. */
  publicKey(): Promise<string>;
  sign(message: Signable): Promise<string>;
}

export class Ed25519Signer implements Signer {
  #keys: CryptoKeyPair;

  private constructor(keys: CryptoKeyPair) {
    this.#keys = keys;
  }

  static async generate(): Promise<Ed25519Signer> {
    return new Ed25519Signer((await subtle.generateKey(ALGORITHM, true, ['sign', 'verify'])) as CryptoKeyPair);
  }

  /** @param keys the result of `export()` */
  static async import({
    privateKey,
    publicKey,
  }: {
    privateKey: JsonWebKey;
    publicKey: JsonWebKey;
  }): Promise<Ed25519Signer> {
    return new Ed25519Signer({
      privateKey: await subtle.importKey('jwk', privateKey, ALGORITHM, true, ['sign']),
      publicKey: await subtle.importKey('jwk', publicKey, ALGORITHM, true, ['verify']),
    });
  }

  async export(): Promise<{ privateKey: JsonWebKey; publicKey: JsonWebKey }> {
    const { privateKey, publicKey } = this.#keys;
    return {
      privateKey: await subtle.exportKey('jwk', privateKey),
      publicKey: await subtle.exportKey('jwk', publicKey),
    };
  }

  async publicKey(): Promise<string> {
    return toBase64(new Uint8Array(await subtle.exportKey('raw', this.#keys.publicKey)));
  }

  async sign(message: Signable): Promise<string> {
    return toBase64(new Uint8Array(await subtle.sign(ALGORITHM, this.#keys.privateKey, signedBytes(message))));
  }
}

/**
 * Checks whether the device with that signing key has signed a message. Works for messages with one payload for all: of a
 * message with envelopes each device only has its own.
 */
export async function verifySignature(
  message: Signable & { signature?: string },
  signing_key: string,
): Promise<boolean> {
  if (message.signature === undefined || message.payload === undefined) return false;
  const key = await subtle.importKey('raw', fromBase64(signing_key), ALGORITHM, false, ['verify']);
  return subtle.verify(ALGORITHM, key, fromBase64(message.signature), signedBytes(message));
}
