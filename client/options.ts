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
  /** Without it only opaque payloads are sent and received. */
  crypto?: Crypto;
  /** With `crypto`: signs what it seals. */
  signer?: Signer;
  store?: Store;
  transport?: Transport;
  settings?: Partial<DeviceSettings>;
}

export interface SendOptions
  extends Pick<MessageSend, 'attachments' | 'reply_to' | 'expires_in_sec' | 'payload' | 'envelopes' | 'signature'> {
  conversation_id?: string;
  to?: { user_id?: string; number?: string };
  /** Sealed by the Device's crypto for every device of the conversation; instead of `payload` or `envelopes`. */
  plaintext?: Uint8Array | string;
  /** Unique per sender for ever; made by `send` unless given. */
  client_message_id?: string;
}

export interface HistoryOptions {
  after_seq?: number;
  before_seq?: number;
  /** Messages per page, 1 to 100. */
  limit?: number;
}
