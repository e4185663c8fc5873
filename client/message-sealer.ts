/** Seals messages for the devices of a conversation and opens received ones, with the Crypto that the Device was given. */
import type { Message, PublicDevice } from '../shared/contract/objects.ts';
import type { Signer } from './crypto/ed25519.ts';
import type { Crypto, Recipient, Sealed } from './crypto/types.ts';
import { SealwireError } from './errors.ts';
import { type KeyOptions, KeyPublisher } from './key-publisher.ts';
import { PrekeyBundles } from './prekey-bundles.ts';
import { RecipientCache } from './recipient-cache.ts';
import type { Session } from './session.ts';

interface Target {
  conversation_id?: string;
  to?: { user_id?: string; number?: string };
}
/** The fields of a sealed message that replace its plaintext. */
type SealedBody = Sealed & { conversation_id: string; signature?: string };

export class MessageSealer {
  #session: Session;
  #crypto: Crypto;
  #signer: Signer | undefined;
  #recipients: RecipientCache;
  #prekeyBundles: PrekeyBundles | undefined;
  #publisher: KeyPublisher;
  /** The seal that runs now. Seals run one after the other, so that messages keep the order of the calls. */
  #lastSeal: Promise<unknown> = Promise.resolve();

  /** @param report is given errors that only delay something */
  constructor(session: Session, options: KeyOptions, report: (error: SealwireError) => void) {
    this.#session = session;
    this.#crypto = options.crypto;
    this.#signer = options.signer;
    this.#recipients = new RecipientCache(session);
    this.#prekeyBundles = options.crypto.prekeys && new PrekeyBundles(session, options.crypto.prekeys);
    this.#publisher = new KeyPublisher(session, options, report);
  }

  /** Publishes this device's keys. @throws SealwireError when there is a new key that can't be published */
  publishKeys(): Promise<void> {
    return this.#publisher.publish();
  }

  /** Adds one-time keys if the server has few left. Never rejects. */
  replenishPrekeys(): Promise<void> {
    return this.#publisher.replenishPrekeys();
  }

  /**
   * Prepares the sealing of one message.
   * @returns a function that seals it; given the server's refusal, it first drops the lists of devices that were wrong
   */
  prepare(target: Target, plaintext: Uint8Array, client_message_id: string) {
    return (refusal?: SealwireError): Promise<SealedBody> => {
      if (refusal) this.#forgetRefusedDevices(refusal);
      const sealed = this.#lastSeal.then(() => this.#seal(target, plaintext, client_message_id));
      this.#lastSeal = sealed.catch(() => {});
      return sealed;
    };
  }

  /**
   * Opens a message.
   * @throws SealwireError `cannot_open`; `unavailable` when the sender's key can't be fetched now
   */
  async open(message: Message): Promise<Uint8Array> {
    const { payload, sender_id, sender_device_id } = message;
    if (payload === undefined) throw new SealwireError('cannot_open', 'nothing was sealed for this device');
    const findKey = async (fresh: boolean): Promise<string | undefined> =>
      (await this.#recipients.devicesOf(sender_id, fresh)).find((device) => device.id === sender_device_id)
        ?.identity_key;
    const sender_identity_key = (await findKey(false)) ?? (await findKey(true));
    if (sender_identity_key === undefined)
      throw new SealwireError('cannot_open', 'the sending device has no published key');
    const request = { message: { ...message, payload }, device_id: this.#session.device.id, sender_identity_key };
    try {
      return await this.#crypto.open(request);
    } catch (cause) {
      throw new SealwireError('cannot_open', 'the message was not sealed by its sender for this device', { cause });
    }
  }

  /**
   * Opens a received message, or returns why it can never be opened.
   * @throws SealwireError when the sender's key can't be fetched now; the server then delivers the message again
   */
  async tryOpen(message: Message): Promise<{ plaintext: Uint8Array } | { error: SealwireError }> {
    try {
      return { plaintext: await this.open(message) };
    } catch (error) {
      if (error instanceof SealwireError && error.code === 'cannot_open') return { error };
      throw error;
    }
  }

  /** Drops the list of a person's devices, because their devices or keys have changed. */
  forgetDevices(user_id: string): void {
    this.#recipients.forgetDevices(user_id);
  }

  /** Drops the members of one conversation; without an id, all members and devices. */
  forgetMembers(conversation_id?: string): void {
    this.#recipients.forgetMembers(conversation_id);
  }

  async #seal(target: Target, plaintext: Uint8Array, client_message_id: string): Promise<SealedBody> {
    const conversation_id = target.conversation_id ?? (await this.#recipients.directConversationWith(target.to ?? {}));
    const devices = await this.#devicesIn(conversation_id);
    if (devices.length === 0)
      throw new SealwireError('cannot_seal', 'no device of this conversation has published a key');
    const recipients: Recipient[] = this.#prekeyBundles
      ? await this.#prekeyBundles.recipientsFor(devices)
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

  /** Returns every device of every member except this one, so that the sender's other devices get a copy. */
  async #devicesIn(conversation_id: string): Promise<PublicDevice[]> {
    const members = await this.#recipients.membersOf(conversation_id);
    const lists = await Promise.all(members.map((user_id) => this.#recipients.devicesOf(user_id)));
    return lists.flat().filter((device) => device.identity_key !== undefined && device.id !== this.#session.device.id);
  }

  /** Drops the lists that the server's refusal names. It names no owner of a deleted device, so then all lists go. */
  #forgetRefusedDevices({ details }: SealwireError): void {
    const { extra, user_ids } = (details ?? {}) as { extra?: string[]; user_ids?: string[] };
    if (extra?.length || !user_ids?.length) this.forgetMembers();
    else for (const user_id of user_ids) this.forgetDevices(user_id);
  }
}
