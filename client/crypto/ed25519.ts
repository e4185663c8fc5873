/** Signatures of messages by Ed25519 on WebCrypto, which the server and whoever has the device's signing key can check. */
import { type Signable, signedText } from '../../shared/contract/signed.ts';
import { fromBase64, toBase64 } from './base64.ts';

const NAME = 'Ed25519';
const { subtle } = globalThis.crypto;
const bytes = (message: Signable): Uint8Array<ArrayBuffer> => new TextEncoder().encode(signedText(message));

export interface Signer {
  /** To be published as `signing_key`: 32 bytes as base64. */
  publicKey(): Promise<string>;
  sign(message: Signable): Promise<string>;
}

export class Ed25519Signer implements Signer {
  #keys: CryptoKeyPair;

  private constructor(keys: CryptoKeyPair) {
    this.#keys = keys;
  }

  static async generate(): Promise<Ed25519Signer> {
    return new Ed25519Signer((await subtle.generateKey(NAME, true, ['sign', 'verify'])) as CryptoKeyPair);
  }

  /** Keys as `export()` gave them. */
  static async import({
    privateKey,
    publicKey,
  }: {
    privateKey: JsonWebKey;
    publicKey: JsonWebKey;
  }): Promise<Ed25519Signer> {
    return new Ed25519Signer({
      privateKey: await subtle.importKey('jwk', privateKey, NAME, true, ['sign']),
      publicKey: await subtle.importKey('jwk', publicKey, NAME, true, ['verify']),
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
    return toBase64(new Uint8Array(await subtle.sign(NAME, this.#keys.privateKey, bytes(message))));
  }
}

/** Whether a message with one payload for all was signed by the device with that signing key. Of envelopes a device has but its own. */
export async function verifySignature(
  message: Signable & { signature?: string },
  signing_key: string,
): Promise<boolean> {
  if (message.signature === undefined || message.payload === undefined) return false;
  const key = await subtle.importKey('raw', fromBase64(signing_key), NAME, false, ['verify']);
  return subtle.verify(NAME, key, fromBase64(message.signature), bytes(message));
}
