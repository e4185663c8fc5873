/**
 * The default: HPKE (RFC 9180) in Auth mode, one shot per message and recipient device, from `@hpke/core` on WebCrypto:
 * DHKEM(X25519, HKDF-SHA256), HKDF-SHA256, AES-256-GCM. What it gives and what not: docs/client.md.
 */
import { Aes256Gcm, CipherSuite, DhkemX25519HkdfSha256, HkdfSha256 } from '@hpke/core';
import { fromBase64, toBase64 } from './base64.ts';
import type { Crypto, OpenRequest, Sealed, SealRequest } from './types.ts';

const suite = new CipherSuite({ kem: new DhkemX25519HkdfSha256(), kdf: new HkdfSha256(), aead: new Aes256Gcm() });
const info = new TextEncoder().encode('sealwire hpke 1').buffer;
/** Length of the encapsulated key that stands before the ciphertext, bytes. */
const ENC_BYTES = 32;
/** Plaintexts are padded to a multiple of this (ISO/IEC 7816-4), so that lengths say less. */
const PAD_BYTES = 64;
/** Says which construction a payload is of. */
const PREFIX = '1.';

/** Both keys as JWK (OKP, X25519). The private one never leaves the device unless the application takes it. */
export interface HpkeKeys {
  privateKey: JsonWebKey;
  publicKey: JsonWebKey;
}

export class HpkeCrypto implements Crypto {
  #keys: CryptoKeyPair;
  #identityKey: Promise<string>;
  /** Imported keys of other devices, by their text. */
  #imported = new Map<string, Promise<CryptoKey>>();

  private constructor(keys: CryptoKeyPair) {
    this.#keys = keys;
    this.#identityKey = suite.kem.serializePublicKey(keys.publicKey).then((bytes) => toBase64(new Uint8Array(bytes)));
  }

  /** A new device's keys. */
  static async generate(): Promise<HpkeCrypto> {
    return new HpkeCrypto(await suite.kem.generateKeyPair());
  }

  /** A device that has its keys from `export()`. */
  static async import({ privateKey, publicKey }: HpkeKeys): Promise<HpkeCrypto> {
    return new HpkeCrypto({
      privateKey: await suite.kem.importKey('jwk', privateKey, false),
      publicKey: await suite.kem.importKey('jwk', publicKey, true),
    });
  }

  async export(): Promise<HpkeKeys> {
    const { subtle } = globalThis.crypto;
    return {
      privateKey: await subtle.exportKey('jwk', this.#keys.privateKey),
      publicKey: await subtle.exportKey('jwk', this.#keys.publicKey),
    };
  }

  identityKey(): Promise<string> {
    return this.#identityKey;
  }

  async seal(request: SealRequest): Promise<Sealed> {
    const padded = pad(request.plaintext);
    const envelopes = request.recipients.map(async ({ device_id, identity_key }) => {
      const recipientPublicKey = await this.#import(identity_key);
      const { ct, enc } = await suite.seal(
        { recipientPublicKey, senderKey: this.#keys, info },
        padded,
        context(request.conversation_id, request.client_message_id, request.sender_device_id, device_id),
      );
      const out = new Uint8Array(enc.byteLength + ct.byteLength);
      out.set(new Uint8Array(enc));
      out.set(new Uint8Array(ct), enc.byteLength);
      return { device_id, payload: PREFIX + toBase64(out) };
    });
    return { envelopes: await Promise.all(envelopes) };
  }

  async open({ message, device_id, sender_identity_key }: OpenRequest): Promise<Uint8Array> {
    if (!message.payload.startsWith(PREFIX)) throw new Error('not a payload of this construction');
    const sealed = fromBase64(message.payload.slice(PREFIX.length));
    const plaintext = await suite.open(
      {
        recipientKey: this.#keys,
        senderPublicKey: await this.#import(sender_identity_key),
        enc: sealed.slice(0, ENC_BYTES).buffer,
        info,
      },
      sealed.slice(ENC_BYTES).buffer,
      context(message.conversation_id, message.client_message_id, message.sender_device_id, device_id),
    );
    return unpad(new Uint8Array(plaintext));
  }

  #import(identity_key: string): Promise<CryptoKey> {
    let key = this.#imported.get(identity_key);
    if (key === undefined) {
      key = Promise.resolve().then(() => suite.kem.deserializePublicKey(fromBase64(identity_key).buffer));
      key.catch(() => this.#imported.delete(identity_key));
      this.#imported.set(identity_key, key);
    }
    return key;
  }
}

/** What a ciphertext belongs to: in another place, from another device or a second time under a new id it does not open. */
function context(...parts: string[]): ArrayBuffer {
  return new TextEncoder().encode(JSON.stringify(parts)).buffer;
}

function pad(plaintext: Uint8Array): ArrayBuffer {
  const out = new Uint8Array(Math.ceil((plaintext.length + 1) / PAD_BYTES) * PAD_BYTES);
  out.set(plaintext);
  out[plaintext.length] = 0x80;
  return out.buffer;
}

function unpad(padded: Uint8Array): Uint8Array {
  const end = padded.lastIndexOf(0x80);
  if (end < 0) throw new Error('no padding');
  return padded.slice(0, end);
}
