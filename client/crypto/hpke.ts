/**
 * Seals messages with HPKE (RFC 9180), the default crypto: one shot per message and recipient device, by `@hpke/core` on
 * WebCrypto, with DHKEM(X25519, HKDF-SHA256), HKDF-SHA256, AES-256-GCM. If the recipient has a prekey, the message is sealed
 * to the prekey in AuthPSK mode, with a PSK exported from an encapsulation to the identity key, so that opening needs both
 * private keys. Otherwise it is sealed to the identity key in Auth mode. docs/client.md lists what this protects from.
 */
import { Aes256Gcm, CipherSuite, DhkemX25519HkdfSha256, HkdfSha256 } from '@hpke/core';
import { fromBase64, toBase64 } from './base64.ts';
import { PrekeyStore, type StoredPrekey } from './prekey-store.ts';
import type { Crypto, OpenRequest, Recipient, Sealed, SealRequest } from './types.ts';

const suite = new CipherSuite({ kem: new DhkemX25519HkdfSha256(), kdf: new HkdfSha256(), aead: new Aes256Gcm() });
const encodeText = (value: string): ArrayBuffer => new TextEncoder().encode(value).buffer;
const info = encodeText('sealwire hpke 1');
const pskInfo = encodeText('sealwire hpke 2 identity');
const prekeyInfo = encodeText('sealwire hpke 2 prekey');
const pskContext = encodeText('psk');
const PSK_BYTES = 32;
/** Length of an encapsulated key, bytes. */
const ENC_BYTES = 32;
/** Plaintexts are padded to a multiple of this (ISO/IEC 7816-4), so that lengths reveal less. */
const PAD_BYTES = 64;
/** A one-time key is kept this long after its first use. Until then history can be opened again. */
const KEEP_MS = 30 * 86_400_000;
/** Most imported public keys that are cached. The limit is needed because one-time keys are ever new. */
const MAX_IMPORTED = 10_000;
/** Prefix of a payload that was sealed to the identity key alone. */
const IDENTITY = '1.';
/** Prefix of a payload that was sealed to a prekey and the identity key. */
const PREKEY = '2.';

/** Keys as JWK (OKP, X25519). Private keys leave the device only if the application sends them away. */
export interface HpkeKeys {
  privateKey: JsonWebKey;
  publicKey: JsonWebKey;
  registration_id?: number;
  prekeys?: StoredPrekey[];
}
export interface HpkeOptions {
  /** One-time keys are kept this long after their first use, ms. Afterwards messages sealed for them can't be opened. */
  keep_ms?: number;
}

const newRegistrationId = (): number => globalThis.crypto.getRandomValues(new Uint32Array(1))[0]! >>> 1;

export class HpkeCrypto implements Crypto {
  readonly prekeys: PrekeyStore;
  /** Called with the keys whenever prekeys were made or deleted, to save them. Awaited before new ones are published. */
  onchange?: (keys: HpkeKeys) => unknown;
  #keys: CryptoKeyPair;
  #identityKey: Promise<string>;
  #registrationId: number;
  /** Imported public keys of other devices, by their text. */
  #imported = new Map<string, Promise<CryptoKey>>();

  private constructor(keys: CryptoKeyPair, registration_id: number, { keep_ms = KEEP_MS }: HpkeOptions) {
    this.#keys = keys;
    this.#registrationId = registration_id;
    this.#identityKey = suite.kem.serializePublicKey(keys.publicKey).then((bytes) => toBase64(new Uint8Array(bytes)));
    this.prekeys = new PrekeyStore(suite.kem, keep_ms, () => this.#save());
  }

  /** Makes the keys of a new device. */
  static async generate(options: HpkeOptions = {}): Promise<HpkeCrypto> {
    return new HpkeCrypto(await suite.kem.generateKeyPair(), newRegistrationId(), options);
  }

  /** Restores the keys from `export()` or the last `onchange`. */
  static async import(
    { privateKey, publicKey, registration_id, prekeys = [] }: HpkeKeys,
    options: HpkeOptions = {},
  ): Promise<HpkeCrypto> {
    const pair = {
      privateKey: await suite.kem.importKey('jwk', privateKey, false),
      publicKey: await suite.kem.importKey('jwk', publicKey, true),
    };
    const crypto = new HpkeCrypto(pair, registration_id ?? newRegistrationId(), options);
    await crypto.prekeys.restore(prekeys);
    return crypto;
  }

  async export(): Promise<HpkeKeys> {
    const { subtle } = globalThis.crypto;
    return {
      privateKey: await subtle.exportKey('jwk', this.#keys.privateKey),
      publicKey: await subtle.exportKey('jwk', this.#keys.publicKey),
      registration_id: this.#registrationId,
      prekeys: await this.prekeys.export(),
    };
  }

  identityKey(): Promise<string> {
    return this.#identityKey;
  }
  registrationId(): number {
    return this.#registrationId;
  }
  async renew(): Promise<void> {
    this.#registrationId = newRegistrationId();
    await this.#save();
  }

  async seal(request: SealRequest): Promise<Sealed> {
    const { conversation_id, client_message_id, sender_device_id, recipients } = request;
    const padded = pad(request.plaintext);
    const envelopes = recipients.map(async (recipient) => {
      const { device_id, prekey } = recipient;
      const aad = associatedData(conversation_id, client_message_id, sender_device_id, device_id);
      const payload = prekey
        ? await this.#sealToPrekey(recipient, prekey, padded, aad)
        : await this.#sealToIdentity(recipient, padded, aad);
      return { device_id, payload };
    });
    return { envelopes: await Promise.all(envelopes) };
  }

  async open({ message, device_id, sender_identity_key }: OpenRequest): Promise<Uint8Array> {
    const { payload, conversation_id, client_message_id, sender_device_id } = message;
    const aad = associatedData(conversation_id, client_message_id, sender_device_id, device_id);
    const senderPublicKey = await this.#import(sender_identity_key);
    if (payload.startsWith(PREKEY)) return unpad(await this.#openByPrekey(payload, senderPublicKey, aad));
    if (!payload.startsWith(IDENTITY)) throw new Error('the payload was not sealed by HpkeCrypto');
    const sealed = fromBase64(payload.slice(IDENTITY.length));
    const enc = sealed.slice(0, ENC_BYTES).buffer;
    const sender = { recipientKey: this.#keys, senderPublicKey, enc, info };
    return unpad(await suite.open(sender, sealed.slice(ENC_BYTES).buffer, aad));
  }

  async #sealToIdentity({ identity_key }: Recipient, padded: ArrayBuffer, aad: ArrayBuffer): Promise<string> {
    const recipientPublicKey = await this.#import(identity_key);
    const { ct, enc } = await suite.seal({ recipientPublicKey, senderKey: this.#keys, info }, padded, aad);
    return IDENTITY + concatBase64(enc, ct);
  }

  async #sealToPrekey(
    { identity_key }: Recipient,
    { key_id, public_key }: NonNullable<Recipient['prekey']>,
    padded: ArrayBuffer,
    aad: ArrayBuffer,
  ): Promise<string> {
    const outer = await suite.createSenderContext({
      recipientPublicKey: await this.#import(identity_key),
      senderKey: this.#keys,
      info: pskInfo,
    });
    const psk = { id: encodeText(key_id), key: await outer.export(pskContext, PSK_BYTES) };
    const { ct, enc } = await suite.seal(
      { recipientPublicKey: await this.#import(public_key), senderKey: this.#keys, info: prekeyInfo, psk },
      padded,
      aad,
    );
    return `${PREKEY}${key_id}.${concatBase64(outer.enc, enc, ct)}`;
  }

  async #openByPrekey(payload: string, senderPublicKey: CryptoKey, aad: ArrayBuffer): Promise<ArrayBuffer> {
    const dot = payload.lastIndexOf('.');
    const key_id = payload.slice(PREKEY.length, dot);
    const recipientKey = this.prekeys.find(key_id);
    const sealed = fromBase64(payload.slice(dot + 1));
    const outer = await suite.createRecipientContext({
      recipientKey: this.#keys,
      senderPublicKey,
      enc: sealed.slice(0, ENC_BYTES).buffer,
      info: pskInfo,
    });
    const psk = { id: encodeText(key_id), key: await outer.export(pskContext, PSK_BYTES) };
    const enc = sealed.slice(ENC_BYTES, 2 * ENC_BYTES).buffer;
    const sender = { recipientKey, senderPublicKey, enc, info: prekeyInfo, psk };
    const plaintext = await suite.open(sender, sealed.slice(2 * ENC_BYTES).buffer, aad);
    await this.prekeys.markUsed(key_id);
    return plaintext;
  }

  async #save(): Promise<void> {
    if (this.onchange) await this.onchange(await this.export());
  }

  #import(public_key: string): Promise<CryptoKey> {
    let key = this.#imported.get(public_key);
    if (key === undefined) {
      key = Promise.resolve().then(() => suite.kem.deserializePublicKey(fromBase64(public_key).buffer));
      key.catch(() => this.#imported.delete(public_key));
      if (this.#imported.size >= MAX_IMPORTED) this.#imported.clear();
      this.#imported.set(public_key, key);
    }
    return key;
  }
}

/** Binds a ciphertext to its conversation, devices and id: copied elsewhere or sent under a new id, it can't be opened. */
function associatedData(...parts: string[]): ArrayBuffer {
  return encodeText(JSON.stringify(parts));
}

function concatBase64(...parts: ArrayBuffer[]): string {
  const out = new Uint8Array(parts.reduce((sum, { byteLength }) => sum + byteLength, 0));
  let offset = 0;
  for (const part of parts) {
    out.set(new Uint8Array(part), offset);
    offset += part.byteLength;
  }
  return toBase64(out);
}

function pad(plaintext: Uint8Array): ArrayBuffer {
  const out = new Uint8Array(Math.ceil((plaintext.length + 1) / PAD_BYTES) * PAD_BYTES);
  out.set(plaintext);
  out[plaintext.length] = 0x80;
  return out.buffer;
}

function unpad(plaintext: ArrayBuffer): Uint8Array {
  const padded = new Uint8Array(plaintext);
  const end = padded.lastIndexOf(0x80);
  if (end < 0) throw new Error('the plaintext has no padding');
  return padded.slice(0, end);
}
