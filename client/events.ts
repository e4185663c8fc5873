/** What a Device tells its application. */
import type { InboxGap, MessageStatus, ServerFrame, Welcome } from '../shared/contract/frames/server.ts';
import type { Message } from '../shared/contract/objects.ts';
import type { SealwireError } from './errors.ts';

type FrameOf<T extends ServerFrame['type']> = Extract<ServerFrame, { type: T }>;

export interface Incoming {
  message: Message;
  /** With crypto: what the sender sealed; undefined together with `error`. */
  plaintext?: Uint8Array;
  /** Why it could not be opened (`cannot_open`). */
  error?: SealwireError;
  /** True when history filled a gap with it. */
  resync: boolean;
}

export type DeviceEvents = {
  /** Each message once, in order. Acknowledged after every listener has returned or resolved; listen before connecting. */
  message: Incoming;
  /** What became of an own message. */
  status: MessageStatus;
  'receipt.read': FrameOf<'receipt.read'>;
  'conversation.updated': FrameOf<'conversation.updated'>;
  'member.changed': FrameOf<'member.changed'>;
  /** Somebody whom this person writes to, or this person, has other devices or keys now. */
  'device.changed': FrameOf<'device.changed'>;
  /** One-time keys ran low; with crypto they are being added. */
  'keys.low': FrameOf<'keys.low'>;
  /** A payment request was put into a conversation, or went forward. It may come twice; a state never goes back. */
  payment: FrameOf<'payment.updated'>;
  /** Any durable item that this library has no name for yet. */
  item: ServerFrame;
  /** Every frame of the server, before anything else sees it. */
  frame: ServerFrame;
  /** Items were lost; what history still has comes as `message` right after. */
  gap: InboxGap;
  /** The backlog is drained: live from here. */
  empty: FrameOf<'inbox.empty'>;
  open: Welcome;
  /** The socket is gone; another one follows after `retry_in_ms`. */
  close: { code: number; reason: string; retry_in_ms: number };
  /** Another connection of this device took its place: this one stays away. */
  replaced: SealwireError;
  /** Something that concerns no caller; `signed_out` and `forbidden` end the connection. */
  error: SealwireError;
};
