/** End-to-end crypto as a Device uses it. The default is `HpkeCrypto`; a ratchet or MLS can take its place. */
import type { Message } from '../../shared/contract/scalars.ts';

export interface Recipient {
  device_id: string;
  /** As that device published it. */
  identity_key: string;
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

export interface Crypto {
  /** The public key to publish for this device, as text. */
  identityKey(): Promise<string>;
  seal(request: SealRequest): Promise<Sealed>;
  /** @throws when the payload was changed, is for another device, place or message, or came from another key. */
  open(request: OpenRequest): Promise<Uint8Array>;
}
