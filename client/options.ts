/** The options of a Device and of its methods. */
import type { MessageSend } from '../shared/contract/frames/client.ts';
import type { Signer } from './crypto/ed25519.ts';
import type { Crypto } from './crypto/types.ts';
import type { Session, SessionData } from './session.ts';
import type { DeviceSettings } from './settings.ts';
import type { Store } from './store.ts';
import type { Transport } from './transports/types.ts';

export interface DeviceOptions {
  session: Session | SessionData;
  /** Base URL of the edge, e.g. `ws://127.0.0.1:8081`. */
  edge: string;
  /** Seals and opens messages. Without it the device sends and receives opaque payloads only. */
  crypto?: Crypto;
  /** Signs what `crypto` has sealed. */
  signer?: Signer;
  store?: Store;
  transport?: Transport;
  settings?: Partial<DeviceSettings>;
}

export interface SendOptions extends Omit<MessageSend, 'type' | 'id' | 'conversation_id' | 'to' | 'client_message_id'> {
  conversation_id?: string;
  to?: { user_id?: string; number?: string };
  /** Sealed by the Device's crypto for every device of the conversation. Replaces `payload` and `envelopes`. */
  plaintext?: Uint8Array | string;
  /** Unique among all messages of the sender, for ever. `send` makes one if it is not given. */
  client_message_id?: string;
}

export interface HistoryOptions {
  after_seq?: number;
  before_seq?: number;
  /** Messages per page, 1 to 100. */
  limit?: number;
}
