/** Private halves of prekeys: made, found by id, and thrown away some time after their use, which is what they are for. */
import type { KemInterface } from '@hpke/core';
import { toBase64 } from './base64.ts';
import type { Prekeys, PublicPrekey } from './types.ts';

/** As `HpkeCrypto.export()` gives it. Times in ms since 1970. */
export interface StoredPrekey {
  key_id: string;
  privateKey: JsonWebKey;
  /** When it is thrown away; absent while nothing was opened with it and nothing replaced it. */
  until?: number;
  last_resort?: true;
}
interface Kept {
  pair: CryptoKeyPair;
  until?: number | undefined;
  last_resort: boolean;
}

/** Of more, the oldest go: they were handed out long ago to somebody who never used them. */
const MOST = 2_000;

export class PrekeyStore implements Prekeys {
  readonly kind = 'x25519';
  readonly #kem: KemInterface;
  readonly #keepMs: number;
  readonly #changed: () => Promise<void>;
  readonly #keys = new Map<string, Kept>();

  constructor(kem: KemInterface, keepMs: number, changed: () => Promise<void>) {
    this.#kem = kem;
    this.#keepMs = keepMs;
    this.#changed = changed;
  }

  has(key_id: string): boolean {
    return this.#keys.has(key_id);
  }

  async make(count: number): Promise<{ one_time: PublicPrekey[]; last_resort: PublicPrekey }> {
    for (const kept of this.#keys.values()) if (kept.last_resort) kept.until ??= Date.now() + this.#keepMs;
    const one_time: PublicPrekey[] = [];
    for (let i = 0; i < count; i++) one_time.push(await this.#make(false));
    const last_resort = await this.#make(true);
    for (const id of this.#keys.keys()) {
      if (this.#keys.size <= MOST) break;
      this.#keys.delete(id);
    }
    this.#prune();
    await this.#changed();
    return { one_time, last_resort };
  }

  /** The pair, for opening. @throws when it is not here, or not any more */
  find(key_id: string): CryptoKeyPair {
    const kept = this.#keys.get(key_id);
    if (!kept) throw new Error('the one-time key of this payload is not on this device any more');
    return kept.pair;
  }

  /** Something was opened with it: from now on its time runs. A last-resort key's runs from when it is replaced. */
  async used(key_id: string): Promise<void> {
    const kept = this.#keys.get(key_id);
    const pruned = this.#prune();
    if (!kept || kept.last_resort || kept.until !== undefined) {
      if (pruned) await this.#changed();
      return;
    }
    kept.until = Date.now() + this.#keepMs;
    await this.#changed();
  }

  async load(stored: StoredPrekey[]): Promise<void> {
    for (const { key_id, privateKey, until, last_resort } of stored) {
      const { d: _, ...publicKey } = privateKey;
      const pair = {
        privateKey: await this.#kem.importKey('jwk', { ...privateKey, key_ops: ['deriveBits'] }, false),
        publicKey: await this.#kem.importKey('jwk', { ...publicKey, key_ops: [] }, true),
      };
      this.#keys.set(key_id, { pair, until, last_resort: last_resort ?? false });
    }
    this.#prune();
  }

  async save(): Promise<StoredPrekey[]> {
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

  async #make(last_resort: boolean): Promise<PublicPrekey> {
    const pair = await this.#kem.generateKeyPair();
    // Random, so that a device that lost its keys and begins anew uses no id twice.
    const key_id = toBase64(globalThis.crypto.getRandomValues(new Uint8Array(9)));
    this.#keys.set(key_id, { pair, last_resort });
    const public_key = toBase64(new Uint8Array(await this.#kem.serializePublicKey(pair.publicKey)));
    return { key_id, public_key, kind: this.kind };
  }

  #prune(): boolean {
    const before = this.#keys.size;
    const now = Date.now();
    for (const [id, { until }] of this.#keys) if (until !== undefined && until < now) this.#keys.delete(id);
    return this.#keys.size < before;
  }
}
