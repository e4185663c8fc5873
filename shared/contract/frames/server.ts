/** The frames that the server sends. Subprotocol `sealwire.v1.json`. */
import Type, { type Static } from 'typebox';
import { ERROR_STATUS, type ErrorCode } from '../errors.ts';
import { Message } from '../objects.ts';
import { PaymentUpdated } from '../payments.ts';
import { ClientMessageId, Cursor, Id, Seq, Time } from '../scalars.ts';
import { CommandId } from './command-id.ts';

const Durability = Type.Union([Type.Literal('durable'), Type.Literal('fast')]);

/** The first frame of a connection. */
export const Welcome = Type.Object({
  type: Type.Literal('connection.welcome'),
  connection_id: Id,
  user_id: Id,
  device_id: Id,
  server_version: Type.String(),
  server_time: Time,
  heartbeat_sec: Type.Integer(),
  idle_timeout_sec: Type.Integer(),
  /** This device has acknowledged everything up to here. */
  cursor: Cursor,
  /** The number of items that wait in the inbox; a lower bound while new items arrive. */
  backlog: Type.Integer(),
  /** Names the numbering of cursors. Another value than before means that earlier cursors are void. */
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
/** Answers `message.send`. The edge sends `queued` only once the message is durable. */
export const SendAck = Type.Object({
  type: Type.Literal('ack'),
  id: CommandId,
  message_id: Id,
  conversation_id: Id,
  seq: Seq,
  status: Type.Literal('queued'),
});
/** Answers every other command that has an answer. */
export const Ack = Type.Object({ type: Type.Literal('ack'), id: CommandId });
/** A command failed, or a frame could not be read. */
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
/** A new message in one of the person's conversations. */
export const MessageCreated = Type.Object({ type: Type.Literal('message.created'), cursor: Cursor, message: Message });
/**
 * The state of a message for its sender. `sent`: it is in every recipient's inbox. `delivered` (live only) and `read` are
 * cumulative: they hold for every message of the sender in the conversation up to `seq`.
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
/** Another device of the same person has read a conversation up to `seq`. */
export const ReceiptReadEvent = Type.Object({
  type: Type.Literal('receipt.read'),
  cursor: Cursor,
  conversation_id: Id,
  seq: Seq,
  user_id: Id,
  device_id: Id,
});
/** A conversation was created, or its members or name changed. */
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
/** Reserved for changes of members: the server does not send it yet. */
export const MemberChanged = Type.Object({
  type: Type.Literal('member.changed'),
  cursor: Cursor,
  conversation_id: Id,
  seq: Seq,
  user_id: Id,
  change: Type.Union([Type.Literal('added'), Type.Literal('removed')]),
  by: Id,
});
/** Devices or keys of a conversation partner or of the person itself have changed. `n`: number of the change in that person's key log. */
export const DeviceChanged = Type.Object({
  type: Type.Literal('device.changed'),
  cursor: Cursor,
  user_id: Id,
  device_id: Id,
  change: Type.Union([Type.Literal('added'), Type.Literal('changed'), Type.Literal('removed')]),
  n: Type.Integer(),
});
/** This device has few one-time keys of a kind left and should upload more. */
export const KeysLow = Type.Object({
  type: Type.Literal('keys.low'),
  cursor: Cursor,
  kind: Type.String(),
  count: Type.Integer(),
});
/** The backlog up to `cursor` has been sent; what follows is live. */
export const InboxEmpty = Type.Object({ type: Type.Literal('inbox.empty'), cursor: Cursor });
/** Items between `from` and `to` will not be delivered: the client fetches their messages from history. */
export const InboxGap = Type.Object({
  type: Type.Literal('inbox.gap'),
  /** Present when the gap is an item of the inbox itself (`purged`). The client acknowledges it like any other item. */
  cursor: Type.Optional(Cursor),
  from: Cursor,
  to: Cursor,
  reason: Type.Union([Type.Literal('retention'), Type.Literal('quota'), Type.Literal('reset'), Type.Literal('purged')]),
});
/** The edge is about to close: the client connects again after `reconnect_in_ms`. */
export const Draining = Type.Object({ type: Type.Literal('connection.draining'), reconnect_in_ms: Type.Integer() });

export type Welcome = Static<typeof Welcome>;
export type SendAck = Static<typeof SendAck>;
export type ErrorFrame = Static<typeof ErrorFrame>;
export type History = Static<typeof History>;
export type MessageCreated = Static<typeof MessageCreated>;
export type MessageStatus = Static<typeof MessageStatus>;
export type InboxGap = Static<typeof InboxGap>;

/** Every frame that the server may send. */
export const SERVER_FRAMES = [
  Welcome,
  SendAck,
  Ack,
  ErrorFrame,
  Pong,
  History,
  MessageCreated,
  MessageStatus,
  ReceiptReadEvent,
  ConversationUpdated,
  MemberChanged,
  DeviceChanged,
  KeysLow,
  PaymentUpdated,
  InboxEmpty,
  InboxGap,
  Draining,
] as const;
export type ServerFrame = Static<(typeof SERVER_FRAMES)[number]>;
