/** The interface of the end-to-end crypto of a Device. `HpkeCrypto` is the default; a ratchet or MLS can replace it. */
import type { Message } from '../../shared/contract/objects.ts';

export interface Recipient {
  device_id: string;
  /** The identity key that the device has published. */
  identity_key: string;
  /** A prekey claimed for this device; absent when the server has none, or the Crypto has no `prekeys`. */
  prekey?: { key_id: string; public_key: string };
}

export interface SealRequest {
  conversation_id: string;
  client_message_id: string;
  sender_device_id: string;
  recipients: Recipient[];
  plaintext: Uint8Array;
}

export type Sealed = { envelopes: { device_id: string; payload: string }[] } | { payload: string };

export interface OpenRequest {
  message: Message & { payload: string };
  /** The device that opens the message. */
  device_id: string;
  sender_identity_key: string;
}

export interface PublicPrekey {
  key_id: string;
  public_key: string;
  kind: string;
}
/** Holds the private halves of prekeys, which the server hands out one by one. */
export interface Prekeys {
  readonly kind: string;
  /** Whether the private half of this key is here. */
  has(key_id: string): boolean;
  /** Makes new keys. It resolves after the application has saved the private halves (`onchange`). */
  make(count: number): Promise<{ one_time: PublicPrekey[]; last_resort: PublicPrekey }>;
}

export interface Crypto {
  /** Returns the public key to publish for this device, as text. */
  identityKey(): Promise<string>;
  /** Returns the id of this set of keys. The server refuses messages that were sealed for another set. */
  registrationId?(): number;
  /** Changes the registration id, after private halves were lost. */
  renew?(): Promise<void>;
  prekeys?: Prekeys;
  seal(request: SealRequest): Promise<Sealed>;
  /** @throws when the payload was changed, came from another key, or is for another device, conversation or message */
  open(request: OpenRequest): Promise<Uint8Array>;
}
