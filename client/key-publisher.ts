/** Publishes this device's keys, so that others can seal messages for it, and keeps the server supplied with prekeys. */
import type { KeyStock } from '../shared/contract/http/keys.ts';
import type { Signer } from './crypto/ed25519.ts';
import type { Crypto } from './crypto/types.ts';
import type { SealwireError } from './errors.ts';
import type { Session } from './session.ts';

/** The server gets new one-time keys when it has fewer than this. */
const PREKEYS_LOW = 20;
/** Number of one-time keys that the server has after it got new ones. */
const PREKEYS_FULL = 100;
const EMPTY_STOCK: KeyStock = { count: 0, kinds: {}, last_resort: {} };

export interface KeyOptions {
  crypto: Crypto;
  signer: Signer | undefined;
}

export class KeyPublisher {
  #session: Session;
  #crypto: Crypto;
  #signer: Signer | undefined;
  #report: (error: SealwireError) => undefined;

  /** @param report is given errors that only delay something */
  constructor(session: Session, { crypto, signer }: KeyOptions, report: (error: SealwireError) => void) {
    this.#report = (error) => void report(error);
    this.#session = session;
    this.#crypto = crypto;
    this.#signer = signer;
  }

  /**
   * Publishes the keys of this device if they have changed, then adds one-time keys if few are left.
   * @throws SealwireError when there is a new key that can't be published; a failure to add one-time keys is only reported
   */
  async publish(): Promise<void> {
    let stock = await this.#fetchStock().catch(this.#report);
    const lastResort = stock?.last_resort[this.#crypto.prekeys?.kind ?? ''];
    // The server hands out keys whose private halves are not here, because this device was restored from an old backup.
    const isRestored = lastResort !== undefined && !this.#crypto.prekeys!.has(lastResort);
    if (isRestored) await this.#crypto.renew?.();
    const identity_key = await this.#crypto.identityKey();
    const registration_id = this.#crypto.registrationId?.();
    const signing_key = await this.#signer?.publicKey();
    const { device } = this.#session;
    const isUnchanged =
      (registration_id === undefined || device.registration_id === registration_id) &&
      (signing_key === undefined || device.signing_key === signing_key);
    if (device.identity_key !== identity_key || !isUnchanged) {
      const body = { identity_key, registration_id, signing_key };
      await this.#session.call('PUT', '/v1/devices/me/keys', body);
      // The server drops the prekeys of a device whose identity key changes.
      if (stock && device.identity_key !== identity_key) stock = EMPTY_STOCK;
      device.identity_key = identity_key;
      if (registration_id !== undefined) device.registration_id = registration_id;
      if (signing_key !== undefined) device.signing_key = signing_key;
    }
    if (stock) await this.#addPrekeys(stock, isRestored).catch(this.#report);
  }

  /** Adds one-time keys if the server has few left. Never rejects. */
  async replenishPrekeys(): Promise<void> {
    try {
      const stock = await this.#fetchStock();
      if (stock) await this.#addPrekeys(stock, false);
    } catch (error) {
      this.#report(error as SealwireError);
    }
  }

  async #fetchStock(): Promise<KeyStock | undefined> {
    return this.#crypto.prekeys && (await this.#session.call<KeyStock>('GET', '/v1/keys/count'));
  }

  async #addPrekeys({ kinds, last_resort }: KeyStock, replace: boolean): Promise<void> {
    const prekeys = this.#crypto.prekeys!;
    const count = replace ? 0 : (kinds[prekeys.kind] ?? 0);
    if (count >= PREKEYS_LOW && last_resort[prekeys.kind] !== undefined) return;
    const made = await prekeys.make(Math.max(0, PREKEYS_FULL - count));
    await this.#session.call('POST', '/v1/keys/prekeys', { ...made, ...(replace && { replace }) });
  }
}
