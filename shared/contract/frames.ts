/** The WebSocket protocol `sealwire.v1.json`: every frame, once. Types and validators come from here. */
import Type, { type Static } from 'typebox';
import { ERROR_STATUS, type ErrorCode } from './errors.ts';
import type { PaymentUpdated } from './payments.ts';
import {
  AccountNumber,
  ClientMessageId,
  Cursor,
  Envelope,
  Id,
  MediaRef,
  Message,
  Payload,
  Seq,
  Signature,
  Time,
} from './scalars.ts';
import { checker } from './validate.ts';

export const SUBPROTOCOL = 'sealwire.v1.json';
export const PROTOCOL_VERSION = '1';

const strict = { additionalProperties: false } as const;
/** Chosen by the client, echoed by the answer. */
const CommandId = Type.Optional(Type.String({ maxLength: 64 }));

/** What one message says, over HTTP and over the socket alike. */
export const SendBody = {
  client_message_id: ClientMessageId,
  payload: Type.Optional(Payload),
  envelopes: Type.Optional(Type.Array(Envelope, { minItems: 1, maxItems: 10_000 })),
  attachments: Type.Optional(Type.Array(MediaRef, { maxItems: 32 })),
  reply_to: Type.Optional(Id),
  expires_in_sec: Type.Optional(Type.Integer({ minimum: 1, maximum: 366 * 86_400 })),
  signature: Type.Optional(Signature),
};

export const MessageSend = Type.Object(
  {
    type: Type.Literal('message.send'),
    id: CommandId,
    conversation_id: Type.Optional(Id),
    to: Type.Optional(Type.Object({ user_id: Type.Optional(Id), number: Type.Optional(AccountNumber) }, strict)),
    ...SendBody,
  },
  strict,
);
export const InboxAck = Type.Object({ type: Type.Literal('inbox.ack'), id: CommandId, cursor: Cursor }, strict);
export const ReceiptRead = Type.Object(
  { type: Type.Literal('receipt.read'), id: CommandId, conversation_id: Id, seq: Seq },
  strict,
);
export const HistoryGet = Type.Object(
  {
    type: Type.Literal('history.get'),
    id: CommandId,
    conversation_id: Id,
    after_seq: Type.Optional(Seq),
    before_seq: Type.Optional(Seq),
    limit: Type.Optional(Type.Integer({ minimum: 1, maximum: 100 })),
  },
  strict,
);
export const Ping = Type.Object(
  { type: Type.Literal('ping'), id: CommandId, contacts: Type.Optional(Type.Boolean()) },
  strict,
);

export type MessageSend = Static<typeof MessageSend>;
export type InboxAck = Static<typeof InboxAck>;
export type ReceiptRead = Static<typeof ReceiptRead>;
export type HistoryGet = Static<typeof HistoryGet>;
export type Ping = Static<typeof Ping>;
export type ClientFrame = MessageSend | InboxAck | ReceiptRead | HistoryGet | Ping;

/** One compiled check per command; an unknown `type` has none. */
export const CLIENT_FRAMES: ReadonlyMap<string, (value: unknown) => ClientFrame> = new Map<
  string,
  (value: unknown) => ClientFrame
>([
  ['message.send', checker(MessageSend, 'message.send')],
  ['inbox.ack', checker(InboxAck, 'inbox.ack')],
  ['receipt.read', checker(ReceiptRead, 'receipt.read')],
  ['history.get', checker(HistoryGet, 'history.get')],
  ['ping', checker(Ping, 'ping')],
]);

const Durability = Type.Union([Type.Literal('durable'), Type.Literal('fast')]);

export const Welcome = Type.Object({
  type: Type.Literal('connection.welcome'),
  connection_id: Id,
  user_id: Id,
  device_id: Id,
  server_version: Type.String(),
  server_time: Time,
  heartbeat_sec: Type.Integer(),
  idle_timeout_sec: Type.Integer(),
  /** Everything up to here was acknowledged by this device. */
  cursor: Cursor,
  /** Items waiting; a lower bound while live traffic goes on. */
  backlog: Type.Integer(),
  /** Names the life of the inbox; another value means that cursors of before mean nothing now. */
  epoch: Type.String(),
  durability: Durability,
  limits: Type.Object({
    message_max_bytes: Type.Integer(),
    command_max_bytes: Type.Integer(),
    commands_per_window: Type.Integer(),
    window_sec: Type.Integer(),
    unacked_max: Type.Integer(),
  }),
});
/** Answers `message.send`. `queued` is said only when the message is durable. */
export const SendAck = Type.Object({
  type: Type.Literal('ack'),
  id: CommandId,
  message_id: Id,
  conversation_id: Id,
  seq: Seq,
  status: Type.Literal('queued'),
});
export const Ack = Type.Object({ type: Type.Literal('ack'), id: CommandId });
export const ErrorFrame = Type.Object({
  type: Type.Literal('error'),
  id: CommandId,
  client_message_id: Type.Optional(ClientMessageId),
  code: Type.Union(Object.keys(ERROR_STATUS).map((code) => Type.Literal(code as ErrorCode))),
  message: Type.String(),
  details: Type.Optional(Type.Unknown()),
  retry_after_ms: Type.Optional(Type.Integer()),
});
export const Pong = Type.Object({
  type: Type.Literal('pong'),
  id: CommandId,
  server_version: Type.String(),
  server_time: Time,
});
export const History = Type.Object({
  type: Type.Literal('history'),
  id: CommandId,
  messages: Type.Array(Message),
  more: Type.Boolean(),
});
export const MessageCreated = Type.Object({ type: Type.Literal('message.created'), cursor: Cursor, message: Message });
/**
 * What became of a message of mine. `sent`: written to every recipient's inbox. `delivered` (live only) and `read` are
 * cumulative: every message of mine in the conversation up to `seq`.
 */
export const MessageStatus = Type.Object({
  type: Type.Literal('message.status'),
  cursor: Type.Optional(Cursor),
  status: Type.Union([Type.Literal('sent'), Type.Literal('delivered'), Type.Literal('read'), Type.Literal('rejected')]),
  message_id: Type.Optional(Id),
  client_message_id: Type.Optional(ClientMessageId),
  conversation_id: Type.Optional(Id),
  seq: Type.Optional(Seq),
  reason: Type.Optional(Type.String()),
  user_id: Type.Optional(Id),
  device_id: Type.Optional(Id),
});
/** Another device of mine read a conversation up to `seq`. */
export const ReceiptReadEvent = Type.Object({
  type: Type.Literal('receipt.read'),
  cursor: Cursor,
  conversation_id: Id,
  seq: Seq,
  user_id: Id,
  device_id: Id,
});
export const ConversationUpdated = Type.Object({
  type: Type.Literal('conversation.updated'),
  cursor: Cursor,
  conversation: Type.Object({
    id: Id,
    type: Type.String(),
    name: Type.Optional(Type.String()),
    last_seq: Seq,
    members_count: Type.Integer(),
  }),
});
export const MemberChanged = Type.Object({
  type: Type.Literal('member.changed'),
  cursor: Cursor,
  conversation_id: Id,
  seq: Seq,
  user_id: Id,
  change: Type.Union([Type.Literal('added'), Type.Literal('removed')]),
  by: Id,
});
/** A conversation partner's devices or keys changed, or my own. `n`: its place in the person's key log. */
export const DeviceChanged = Type.Object({
  type: Type.Literal('device.changed'),
  cursor: Cursor,
  user_id: Id,
  device_id: Id,
  change: Type.Union([Type.Literal('added'), Type.Literal('changed'), Type.Literal('removed')]),
  n: Type.Integer(),
});
/** This device has few one-time keys of a kind left. */
export const KeysLow = Type.Object({
  type: Type.Literal('keys.low'),
  cursor: Cursor,
  kind: Type.String(),
  count: Type.Integer(),
});
export const InboxEmpty = Type.Object({ type: Type.Literal('inbox.empty'), cursor: Cursor });
export const InboxGap = Type.Object({
  type: Type.Literal('inbox.gap'),
  /** Present where the gap is an item of the queue itself (`purged`): to be acknowledged as any other item. */
  cursor: Type.Optional(Cursor),
  from: Cursor,
  to: Cursor,
  reason: Type.Union([Type.Literal('retention'), Type.Literal('quota'), Type.Literal('reset'), Type.Literal('purged')]),
});
export const Draining = Type.Object({ type: Type.Literal('connection.draining'), reconnect_in_ms: Type.Integer() });

export type Welcome = Static<typeof Welcome>;
export type SendAck = Static<typeof SendAck>;
export type ErrorFrame = Static<typeof ErrorFrame>;
export type History = Static<typeof History>;
export type MessageCreated = Static<typeof MessageCreated>;
export type MessageStatus = Static<typeof MessageStatus>;
export type InboxGap = Static<typeof InboxGap>;
export type ServerFrame =
  | Welcome
  | SendAck
  | Static<typeof Ack>
  | ErrorFrame
  | Static<typeof Pong>
  | History
  | MessageCreated
  | MessageStatus
  | Static<typeof ReceiptReadEvent>
  | Static<typeof ConversationUpdated>
  | Static<typeof MemberChanged>
  | Static<typeof DeviceChanged>
  | Static<typeof KeysLow>
  | Static<typeof PaymentUpdated>
  | Static<typeof InboxEmpty>
  | InboxGap
  | Static<typeof Draining>;

/** Why the server closed a socket (RFC 6455 application range from 4400). */
export const CLOSE = {
  normal: 1000,
  restarting: 1012,
  /** What has to be looked up can't be just now. */
  try_again: 1013,
  protocol_error: 4400,
  unauthenticated: 4401,
  forbidden: 4403,
  slow_or_idle: 4408,
  replaced: 4409,
  too_many_commands: 4429,
} as const;
