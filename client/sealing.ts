/** Between a Device and its crypto: who is to read a message, whose key it came from. */
import type { KeyStock } from '../shared/contract/http/keys.ts';
import type { Message, PublicDevice } from '../shared/contract/objects.ts';
import { Bundles } from './bundles.ts';
import type { Signer } from './crypto/ed25519.ts';
import type { Crypto, Recipient, Sealed } from './crypto/types.ts';
import { SealwireError } from './errors.ts';
import { Keys } from './keys.ts';
import type { Session } from './session.ts';

interface Means {
  crypto: Crypto;
  signer: Signer | undefined;
}
interface Target {
  conversation_id?: string;
  to?: { user_id?: string; number?: string };
}

/** With fewer one-time keys than that the server is given more, up to so many. */
const PREKEYS_FEW = 20;
const PREKEYS_FULL = 100;
const NOTHING: KeyStock = { count: 0, kinds: {}, last_resort: {} };

export class Sealing {
  #session: Session;
  #crypto: Crypto;
  #signer: Signer | undefined;
  #keys: Keys;
  #bundles: Bundles | undefined;
  #report: (error: SealwireError) => undefined;
  /** Seals one after the other, so that messages keep the order in which they were given. */
  #turn: Promise<unknown> = Promise.resolve();

  /** @param report takes what fails and can wait */
  constructor(session: Session, { crypto, signer }: Means, report: (error: SealwireError) => void) {
    this.#report = (error) => void report(error);
    this.#session = session;
    this.#crypto = crypto;
    this.#signer = signer;
    this.#keys = new Keys(session);
    this.#bundles = crypto.prekeys && new Bundles(session, crypto.prekeys);
  }

  /**
   * Makes sure that others find this device's key, and one-time keys beside it.
   * @throws SealwireError when there is a new key and it can't be published; one-time keys can wait.
   */
  async publish(): Promise<void> {
    let stock = await this.#count().catch(this.#report);
    const last = stock?.last_resort[this.#crypto.prekeys?.kind ?? ''];
    // The server hands out keys whose private halves are not here: this device came back from an old backup.
    const behind = last !== undefined && !this.#crypto.prekeys!.has(last);
    if (behind) await this.#crypto.renew?.();
    const identity_key = await this.#crypto.identityKey();
    const registration_id = this.#crypto.registrationId?.();
    const signing_key = await this.#signer?.publicKey();
    const { device } = this.#session;
    const same =
      (registration_id === undefined || device.registration_id === registration_id) &&
      (signing_key === undefined || device.signing_key === signing_key);
    if (device.identity_key !== identity_key || !same) {
      const body = { identity_key, registration_id, signing_key };
      await this.#session.call('PUT', '/v1/devices/me/keys', body);
      // With another identity the server forgot the rest.
      if (stock && device.identity_key !== identity_key) stock = NOTHING;
      device.identity_key = identity_key;
      if (registration_id !== undefined) device.registration_id = registration_id;
      if (signing_key !== undefined) device.signing_key = signing_key;
    }
    if (stock) await this.#fill(stock, behind).catch(this.#report);
  }

  /** Adds one-time keys where the server has few left. Never rejects. */
  async stock(): Promise<void> {
    try {
      const stock = await this.#count();
      if (stock) await this.#fill(stock, false);
    } catch (error) {
      this.#report(error as SealwireError);
    }
  }

  async #count(): Promise<KeyStock | undefined> {
    return this.#crypto.prekeys && (await this.#session.call<KeyStock>('GET', '/v1/keys/count'));
  }

  async #fill({ kinds, last_resort }: KeyStock, replace: boolean): Promise<void> {
    const prekeys = this.#crypto.prekeys!;
    const left = replace ? 0 : (kinds[prekeys.kind] ?? 0);
    if (left >= PREKEYS_FEW && last_resort[prekeys.kind] !== undefined) return;
    const made = await prekeys.make(Math.max(0, PREKEYS_FULL - left));
    await this.#session.call('POST', '/v1/keys/prekeys', { ...made, ...(replace && { replace }) });
  }

  /** @returns seals, when called; again after a refusal, with fresh lists of those whom it names. */
  prepare(target: Target, plaintext: Uint8Array, client_message_id: string) {
    return (refused?: SealwireError): Promise<Sealed & { conversation_id: string; signature?: string }> => {
      if (refused) this.#doubt(refused);
      const mine = this.#turn.then(() => this.#seal(target, plaintext, client_message_id));
      this.#turn = mine.catch(() => {});
      return mine;
    };
  }

  async #seal(target: Target, plaintext: Uint8Array, client_message_id: string) {
    const conversation_id = target.conversation_id ?? (await this.#keys.direct(target.to ?? {}));
    const devices = await this.#devices(conversation_id);
    if (devices.length === 0)
      throw new SealwireError('cannot_seal', 'no device of this conversation has published a key');
    const recipients: Recipient[] = this.#bundles
      ? await this.#bundles.recipients(devices)
      : devices.map(({ id, identity_key }) => ({ device_id: id, identity_key: identity_key! }));
    const sender_device_id = this.#session.device.id;
    const sealed = await this.#crypto.seal({
      conversation_id,
      client_message_id,
      sender_device_id,
      recipients,
      plaintext,
    });
    const signature = await this.#signer?.sign({ conversation_id, client_message_id, ...sealed });
    const signed = { conversation_id, ...(signature !== undefined && { signature }) };
    if (!('envelopes' in sealed)) return { ...sealed, ...signed };
    const registrations = new Map(devices.map(({ id, registration_id }) => [id, registration_id]));
    const envelopes = sealed.envelopes.map((envelope) => {
      const registration_id = registrations.get(envelope.device_id);
      return { ...envelope, ...(registration_id !== undefined && { registration_id }) };
    });
    return { envelopes, ...signed };
  }

  /** Every device of every member but this one: my other devices too. */
  async #devices(conversation_id: string): Promise<PublicDevice[]> {
    const members = await this.#keys.members(conversation_id);
    const lists = await Promise.all(members.map((user_id) => this.#keys.devices(user_id)));
    return lists.flat().filter((device) => device.identity_key !== undefined && device.id !== this.#session.device.id);
  }

  /** The server named whose devices are others than was thought; of a device that is gone it knows no owner. */
  #doubt({ details }: SealwireError): void {
    const { extra, user_ids } = (details ?? {}) as { extra?: string[]; user_ids?: string[] };
    if (extra?.length || !user_ids?.length) this.#keys.forget();
    else for (const user_id of user_ids) this.changed(user_id);
  }

  /** @throws SealwireError `cannot_open`; `unavailable` when the sender's key can't be had now */
  async open(message: Message): Promise<Uint8Array> {
    const { payload, sender_id, sender_device_id } = message;
    if (payload === undefined) throw new SealwireError('cannot_open', 'nothing was sealed for this device');
    const find = async (fresh: boolean): Promise<string | undefined> =>
      (await this.#keys.devices(sender_id, fresh)).find((device) => device.id === sender_device_id)?.identity_key;
    const sender_identity_key = (await find(false)) ?? (await find(true));
    if (sender_identity_key === undefined)
      throw new SealwireError('cannot_open', 'the sending device has no published key');
    const request = { message: { ...message, payload }, device_id: this.#session.device.id, sender_identity_key };
    try {
      return await this.#crypto.open(request);
    } catch (cause) {
      throw new SealwireError('cannot_open', 'the message was not sealed by its sender for this device', { cause });
    }
  }

  /** A message that can't be opened is handed on with the reason; one whose key can't be asked for now comes again. */
  async incoming(message: Message): Promise<{ plaintext: Uint8Array } | { error: SealwireError }> {
    try {
      return { plaintext: await this.open(message) };
    } catch (error) {
      if (error instanceof SealwireError && error.code === 'cannot_open') return { error };
      throw error;
    }
  }

  /** Somebody's devices or keys are others now. */
  changed(user_id: string): void {
    this.#keys.forgetDevices(user_id);
  }

  forget(conversation_id?: string): void {
    this.#keys.forget(conversation_id);
  }
}
