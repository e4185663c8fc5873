/** Prekeys of other devices: claimed once, used for a while. */
import type { ClaimedDevice } from '../shared/contract/http/keys.ts';
import type { PublicDevice } from '../shared/contract/objects.ts';
import type { Prekeys, Recipient } from './crypto/types.ts';
import { SealwireError } from './errors.ts';
import type { Session } from './session.ts';

/** How long one prekey of a device serves; after it another one is claimed. */
const REUSE_MS = 24 * 3_600_000;
/** How long it is believed that a device has none. */
const NONE_MS = 60_000;

interface Bundle {
  identity_key: string;
  registration_id: number | undefined;
  prekey: Recipient['prekey'];
  until: number;
}

export class Bundles {
  #session: Session;
  #kind: string;
  #of = new Map<string, Bundle>();

  constructor(session: Session, prekeys: Prekeys) {
    this.#session = session;
    this.#kind = prekeys.kind;
  }

  /** The devices as recipients, each with a prekey if it has one to give. @throws SealwireError */
  async recipients(devices: PublicDevice[]): Promise<Recipient[]> {
    const wanted = new Map<string, PublicDevice[]>();
    for (const device of devices) {
      if (this.#fresh(device)) continue;
      const of = wanted.get(device.user_id);
      if (of) of.push(device);
      else wanted.set(device.user_id, [device]);
    }
    await Promise.all([...wanted].map(([user_id, of]) => this.#claim(user_id, of)));
    return devices.map(({ id, identity_key }) => {
      const prekey = this.#of.get(id)?.prekey;
      return { device_id: id, identity_key: identity_key!, ...(prekey && { prekey }) };
    });
  }

  #fresh({ id, identity_key, registration_id }: PublicDevice): boolean {
    const known = this.#of.get(id);
    return (
      known !== undefined &&
      known.identity_key === identity_key &&
      known.registration_id === registration_id &&
      known.until > Date.now()
    );
  }

  async #claim(user_id: string, devices: PublicDevice[]): Promise<void> {
    let claimed: ClaimedDevice[] = [];
    try {
      const body = { device_ids: devices.map(({ id }) => id).slice(0, 100), kind: this.#kind };
      ({ devices: claimed } = await this.#session.call<{ devices: ClaimedDevice[] }>(
        'POST',
        `/v1/users/${user_id}/keys/claim`,
        body,
      ));
    } catch (error) {
      // Rather without a prekey than not at all.
      if (!(error instanceof SealwireError && error.code === 'rate_limited')) throw error;
    }
    const found = new Map(claimed.map((one) => [one.device_id, one]));
    for (const { id, identity_key, registration_id } of devices) {
      const one = found.get(id);
      // A prekey belongs to the identity that it was given out with; of another one it says nothing.
      const given = one?.identity_key === identity_key ? (one?.one_time_prekey ?? one?.last_resort) : undefined;
      const prekey = given && { key_id: given.key_id, public_key: given.public_key };
      const until = Date.now() + (prekey ? REUSE_MS : NONE_MS);
      this.#of.set(id, { identity_key: identity_key!, registration_id, prekey, until });
    }
  }
}
