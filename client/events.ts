/** The events of a Device and the values that their listeners get. */
import type { InboxGap, MessageStatus, ServerFrame, Welcome } from '../shared/contract/frames/server.ts';
import type { Message } from '../shared/contract/objects.ts';
import type { SealwireError } from './errors.ts';

type FrameOf<T extends ServerFrame['type']> = Extract<ServerFrame, { type: T }>;

export interface Incoming {
  message: Message;
  /** With crypto: the plaintext that the sender sealed; undefined if there is an `error`. */
  plaintext?: Uint8Array;
  /** Why the message could not be opened (`cannot_open`). */
  error?: SealwireError;
  /** True when the message came from history, to fill a gap. */
  resync: boolean;
}

export type DeviceEvents = {
  /** Each message once, in order. It is acknowledged after every listener has returned or resolved. Listen before connecting. */
  message: Incoming;
  /** An own message was sent, delivered, read or rejected. */
  status: MessageStatus;
  'receipt.read': FrameOf<'receipt.read'>;
  'conversation.updated': FrameOf<'conversation.updated'>;
  'member.changed': FrameOf<'member.changed'>;
  /** The devices or keys of this person, or of somebody they write to, have changed. */
  'device.changed': FrameOf<'device.changed'>;
  /** The server has few one-time keys left. With crypto the Device adds new ones by itself. */
  'keys.low': FrameOf<'keys.low'>;
  /** A payment request was added to a conversation, or its state advanced. May come twice; a state never goes back. */
  payment: FrameOf<'payment.updated'>;
  /** A durable item whose type this version does not know. */
  item: ServerFrame;
  /** Every frame of the server, before the Device handles it. */
  frame: ServerFrame;
  /** Items were lost. The messages that history still holds follow as `message`. */
  gap: InboxGap;
  /** The backlog is drained; from here on items are live. */
  empty: FrameOf<'inbox.empty'>;
  /** A socket was opened and welcomed. */
  open: Welcome;
  /** The socket was lost. Another one follows after `retry_in_ms`. */
  close: { code: number; reason: string; retry_in_ms: number };
  /** A newer connection of this device has replaced this one, which does not reconnect. */
  replaced: SealwireError;
  /** An error that no caller could be given. `signed_out` and `forbidden` end the connection. */
  error: SealwireError;
};
