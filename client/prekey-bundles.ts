/** Claims prekeys of other devices from the server and reuses each of them for a while. */
import type { ClaimedDevice } from '../shared/contract/http/keys.ts';
import type { PublicDevice } from '../shared/contract/objects.ts';
import type { Prekeys, Recipient } from './crypto/types.ts';
import { SealwireError } from './errors.ts';
import type { Session } from './session.ts';

/** One prekey of a device is used this long before another one is claimed. */
const REUSE_MS = 24 * 3_600_000;
/** A device that had no prekey is not asked again for this long. */
const RETRY_MISSING_MS = 60_000;
/** Devices that one request may name. */
const MAX_CLAIMED = 100;

interface Bundle {
  identity_key: string;
  registration_id: number | undefined;
  prekey: Recipient['prekey'];
  /** End of its use, ms since 1970. */
  expiresAt: number;
}

export class PrekeyBundles {
  #session: Session;
  #kind: string;
  #bundles = new Map<string, Bundle>();

  constructor(session: Session, prekeys: Prekeys) {
    this.#session = session;
    this.#kind = prekeys.kind;
  }

  /** Returns the devices as recipients, each with a prekey if the server has one. @throws SealwireError */
  async recipientsFor(devices: PublicDevice[]): Promise<Recipient[]> {
    const missing = new Map<string, PublicDevice[]>();
    for (const device of devices) {
      if (this.#hasBundle(device)) continue;
      const ofUser = missing.get(device.user_id);
      if (ofUser) ofUser.push(device);
      else missing.set(device.user_id, [device]);
    }
    await Promise.all([...missing].map(([user_id, ofUser]) => this.#claimPrekeys(user_id, ofUser)));
    return devices.map(({ id, identity_key }) => {
      const prekey = this.#bundles.get(id)?.prekey;
      return { device_id: id, identity_key: identity_key!, ...(prekey && { prekey }) };
    });
  }

  #hasBundle({ id, identity_key, registration_id }: PublicDevice): boolean {
    const bundle = this.#bundles.get(id);
    return (
      bundle !== undefined &&
      bundle.identity_key === identity_key &&
      bundle.registration_id === registration_id &&
      bundle.expiresAt > Date.now()
    );
  }

  async #claimPrekeys(user_id: string, devices: PublicDevice[]): Promise<void> {
    let claimed: ClaimedDevice[] = [];
    try {
      const body = { device_ids: devices.map(({ id }) => id).slice(0, MAX_CLAIMED), kind: this.#kind };
      ({ devices: claimed } = await this.#session.call<{ devices: ClaimedDevice[] }>(
        'POST',
        `/v1/users/${user_id}/keys/claim`,
        body,
      ));
    } catch (error) {
      // A message that is sealed without a prekey is better than none.
      if (!(error instanceof SealwireError && error.code === 'rate_limited')) throw error;
    }
    const claimedById = new Map(claimed.map((device) => [device.device_id, device]));
    for (const { id, identity_key, registration_id } of devices) {
      const found = claimedById.get(id);
      // A prekey is only good with the identity key that it was published with.
      const publicKey =
        found?.identity_key === identity_key ? (found?.one_time_prekey ?? found?.last_resort) : undefined;
      const prekey = publicKey && { key_id: publicKey.key_id, public_key: publicKey.public_key };
      const expiresAt = Date.now() + (prekey ? REUSE_MS : RETRY_MISSING_MS);
      this.#bundles.set(id, { identity_key: identity_key!, registration_id, prekey, expiresAt });
    }
  }
}
