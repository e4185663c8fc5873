/** Between a Device and its crypto: who is to read a message, whose key it came from. */
import type { Message } from '../shared/contract/scalars.ts';
import type { Crypto, Recipient, Sealed } from './crypto/types.ts';
import { SealwireError } from './errors.ts';
import { Keys } from './keys.ts';
import type { Session } from './session.ts';

interface Target {
  conversation_id?: string;
  to?: { user_id?: string; number?: string };
}

export class Sealing {
  #session: Session;
  #crypto: Crypto;
  #keys: Keys;
  /** Seals one after the other, so that messages keep the order in which they were given. */
  #turn: Promise<unknown> = Promise.resolve();

  constructor(session: Session, crypto: Crypto) {
    this.#session = session;
    this.#crypto = crypto;
    this.#keys = new Keys(session);
  }

  /** Makes sure that others find this device's key. */
  async publish(): Promise<void> {
    const identity_key = await this.#crypto.identityKey();
    if (this.#session.device.identity_key === identity_key) return;
    await this.#session.call('PUT', '/v1/devices/me/keys', { identity_key });
    this.#session.device.identity_key = identity_key;
  }

  /** @returns seals, when called; `anew` asks for the lists of members and devices again. */
  prepare(target: Target, plaintext: Uint8Array, client_message_id: string) {
    return (anew = false): Promise<Sealed & { conversation_id: string }> => {
      const mine = this.#turn.then(() => this.#seal(target, plaintext, client_message_id, anew));
      this.#turn = mine.catch(() => {});
      return mine;
    };
  }

  async #seal(target: Target, plaintext: Uint8Array, client_message_id: string, anew: boolean) {
    const conversation_id = target.conversation_id ?? (await this.#keys.direct(target.to ?? {}));
    if (anew) this.#keys.forget();
    const recipients = await this.#recipients(conversation_id);
    if (recipients.length === 0)
      throw new SealwireError('cannot_seal', 'no device of this conversation has published a key');
    const sender_device_id = this.#session.device.id;
    const sealed = await this.#crypto.seal({
      conversation_id,
      client_message_id,
      sender_device_id,
      recipients,
      plaintext,
    });
    return { ...sealed, conversation_id };
  }

  /** Every device of every member but this one: my other devices too. */
  async #recipients(conversation_id: string): Promise<Recipient[]> {
    const members = await this.#keys.members(conversation_id);
    const lists = await Promise.all(members.map((user_id) => this.#keys.devices(user_id)));
    return lists
      .flat()
      .filter((device) => device.identity_key !== undefined && device.id !== this.#session.device.id)
      .map(({ id, identity_key }) => ({ device_id: id, identity_key: identity_key! }));
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

  forget(conversation_id?: string): void {
    this.#keys.forget(conversation_id);
  }
}
