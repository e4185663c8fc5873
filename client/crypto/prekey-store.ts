/**
 * Makes and holds the private halves of prekeys, and deletes each some time after its first use. Messages that were sealed
 * for a deleted key can't be opened any more, not even with a stolen identity key.
 */
import type { KemInterface } from '@hpke/core';
import { toBase64 } from './base64.ts';
import type { Prekeys, PublicPrekey } from './types.ts';

/** The form of a prekey in `HpkeCrypto.export()`. Times in ms since 1970. */
export interface StoredPrekey {
  key_id: string;
  privateKey: JsonWebKey;
  /** When the key is deleted; absent until it is used or, if it is the last-resort key, replaced. */
  until?: number;
  last_resort?: true;
}
interface HeldPrekey {
  pair: CryptoKeyPair;
  until?: number | undefined;
  last_resort: boolean;
}

/** Most keys that are held. The oldest are deleted first: the server has handed them out long ago, and nobody used them. */
const MAX_KEYS = 2_000;

export class PrekeyStore implements Prekeys {
  readonly kind = 'x25519';
  readonly #kem: KemInterface;
  readonly #keepMs: number;
  readonly #onChange: () => Promise<void>;
  readonly #keys = new Map<string, HeldPrekey>();

  constructor(kem: KemInterface, keepMs: number, onChange: () => Promise<void>) {
    this.#kem = kem;
    this.#keepMs = keepMs;
    this.#onChange = onChange;
  }

  has(key_id: string): boolean {
    return this.#keys.has(key_id);
  }

  async make(count: number): Promise<{ one_time: PublicPrekey[]; last_resort: PublicPrekey }> {
    for (const held of this.#keys.values()) if (held.last_resort) held.until ??= Date.now() + this.#keepMs;
    const one_time: PublicPrekey[] = [];
    for (let i = 0; i < count; i++) one_time.push(await this.#makeKey(false));
    const last_resort = await this.#makeKey(true);
    for (const id of this.#keys.keys()) {
      if (this.#keys.size <= MAX_KEYS) break;
      this.#keys.delete(id);
    }
    this.#deleteExpired();
    await this.#onChange();
    return { one_time, last_resort };
  }

  /** Returns the key pair, for opening. @throws when it was never here or is deleted */
  find(key_id: string): CryptoKeyPair {
    const held = this.#keys.get(key_id);
    if (!held) throw new Error('the one-time key of this payload is not on this device, or was deleted after its use');
    return held.pair;
  }

  /** Starts the time after which a used key is deleted. That of a last-resort key starts when it is replaced. */
  async markUsed(key_id: string): Promise<void> {
    const held = this.#keys.get(key_id);
    const hasDeleted = this.#deleteExpired();
    if (!held || held.last_resort || held.until !== undefined) {
      if (hasDeleted) await this.#onChange();
      return;
    }
    held.until = Date.now() + this.#keepMs;
    await this.#onChange();
  }

  async restore(stored: StoredPrekey[]): Promise<void> {
    for (const { key_id, privateKey, until, last_resort } of stored) {
      const { d: _, ...publicKey } = privateKey;
      const pair = {
        privateKey: await this.#kem.importKey('jwk', { ...privateKey, key_ops: ['deriveBits'] }, false),
        publicKey: await this.#kem.importKey('jwk', { ...publicKey, key_ops: [] }, true),
      };
      this.#keys.set(key_id, { pair, until, last_resort: last_resort ?? false });
    }
    this.#deleteExpired();
  }

  async export(): Promise<StoredPrekey[]> {
    const { subtle } = globalThis.crypto;
    return Promise.all(
      [...this.#keys].map(async ([key_id, { pair, until, last_resort }]) => ({
        key_id,
        privateKey: await subtle.exportKey('jwk', pair.privateKey),
        ...(until !== undefined && { until }),
        ...(last_resort && { last_resort }),
      })),
    );
  }

  async #makeKey(last_resort: boolean): Promise<PublicPrekey> {
    const pair = await this.#kem.generateKeyPair();
    // Random, so that a device that lost its keys never uses an id again.
    const key_id = toBase64(globalThis.crypto.getRandomValues(new Uint8Array(9)));
    this.#keys.set(key_id, { pair, last_resort });
    const public_key = toBase64(new Uint8Array(await this.#kem.serializePublicKey(pair.publicKey)));
    return { key_id, public_key, kind: this.kind };
  }

  /** @returns whether a key was deleted */
  #deleteExpired(): boolean {
    const before = this.#keys.size;
    const now = Date.now();
    for (const [id, { until }] of this.#keys) if (until !== undefined && until < now) this.#keys.delete(id);
    return this.#keys.size < before;
  }
}
