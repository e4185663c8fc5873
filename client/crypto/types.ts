/** End-to-end crypto as a Device uses it. The default is `HpkeCrypto`; a ratchet or MLS can take its place. */
import type { Message } from '../../shared/contract/objects.ts';

export interface Recipient {
  device_id: string;
  /** As that device published it. */
  identity_key: string;
  /** Claimed from the server for this device; absent when it has none to give, or the Crypto has no `prekeys`. */
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
  /** This device. */
  device_id: string;
  sender_identity_key: string;
}

export interface PublicPrekey {
  key_id: string;
  public_key: string;
  kind: string;
}
/** The private halves of keys that are handed out one by one. */
export interface Prekeys {
  readonly kind: string;
  /** Whether the private half is here. */
  has(key_id: string): boolean;
  /** New keys, the private halves safe (`onchange`) before it resolves. */
  make(count: number): Promise<{ one_time: PublicPrekey[]; last_resort: PublicPrekey }>;
}

export interface Crypto {
  /** The public key to publish for this device, as text. */
  identityKey(): Promise<string>;
  /** Names this making of the keys; senders who know another one are told so. */
  registrationId?(): number;
  /** After private halves were lost: the next `registrationId()` is another one. */
  renew?(): Promise<void>;
  prekeys?: Prekeys;
  seal(request: SealRequest): Promise<Sealed>;
  /** @throws when the payload was changed, is for another device, place or message, or came from another key. */
  open(request: OpenRequest): Promise<Uint8Array>;
}
