import Type, { type Static } from 'typebox';

/** UUIDv7 in lower case (RFC 9562), e.g. `01936f2a-7c1e-7b3a-9f00-0123456789ab`. */
export const Id = Type.String({
  pattern: '^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$',
  description: 'UUIDv7',
});
/** RFC 3339, UTC, milliseconds. */
export const Time = Type.String({ description: 'RFC 3339 UTC, milliseconds' });
/** The eight digits that people share. */
export const AccountNumber = Type.String({ pattern: '^[0-9]{8}$' });
/** Chosen by the sending device, unique per sender for ever: the key that makes a retry harmless. */
export const ClientMessageId = Type.String({ minLength: 1, maxLength: 64, pattern: '^[!-~]+$' });
/** Sealed bytes as text; never parsed, logged or indexed. Its limit in bytes is `MESSAGE_MAX_BYTES`. */
export const Payload = Type.String({ minLength: 1 });
/** Ed25519 by the sending device's signing key, 64 bytes as base64, over the text of `signed.ts`. */
export const Signature = Type.String({ pattern: '^[A-Za-z0-9+/]{86}==$' });
export const Seq = Type.Integer({ minimum: 0, maximum: Number.MAX_SAFE_INTEGER });
/** A place in a device's inbox: strictly increasing, opaque, fits a double exactly. */
export const Cursor = Type.Integer({ minimum: 0, maximum: Number.MAX_SAFE_INTEGER });

const strict = { additionalProperties: false } as const;

export const MediaRef = Type.Object(
  {
    media_id: Id,
    content_type: Type.Optional(Type.String({ maxLength: 255 })),
    filename: Type.Optional(Type.String({ maxLength: 1024 })),
    size: Type.Optional(Type.Integer({ minimum: 0 })),
  },
  strict,
);

export type MediaRef = Static<typeof MediaRef>;

export const Envelope = Type.Object(
  { device_id: Id, registration_id: Type.Optional(Type.Integer({ minimum: 0 })), payload: Payload },
  strict,
);

export const User = Type.Object({
  id: Id,
  number: AccountNumber,
  username: Type.Optional(Type.String()),
  name: Type.Optional(Type.String()),
  bio: Type.Optional(Type.String()),
  birthdate: Type.Optional(Type.String()),
  avatar_url: Type.Optional(Type.String()),
  last_seen: Type.Optional(Time),
});
export type User = Static<typeof User>;

export const Device = Type.Object({
  id: Id,
  user_id: Id,
  name: Type.String(),
  platform: Type.String(),
  created_at: Time,
  last_seen: Type.Union([Time, Type.Null()]),
  identity_key: Type.Optional(Type.String()),
  signing_key: Type.Optional(Type.String()),
  registration_id: Type.Optional(Type.Integer()),
});
export type Device = Static<typeof Device>;
/** What others than its owner see of a device: what they need to seal for it and to check what it signs. */
export const PublicDevice = Type.Object({
  id: Id,
  user_id: Id,
  identity_key: Type.Optional(Type.String()),
  signing_key: Type.Optional(Type.String()),
  registration_id: Type.Optional(Type.Integer()),
});
export type PublicDevice = Static<typeof PublicDevice>;

export const ConversationType = Type.Union([Type.Literal('direct'), Type.Literal('group'), Type.Literal('channel')]);
export type ConversationType = Static<typeof ConversationType>;
export const Role = Type.Union([Type.Literal('owner'), Type.Literal('admin'), Type.Literal('member')]);
export type Role = Static<typeof Role>;

/** A message as a device reads it; with envelopes, `payload` is the reading device's own. `payload` stands last. */
export const Message = Type.Object({
  id: Id,
  conversation_id: Id,
  seq: Seq,
  sender_id: Id,
  sender_device_id: Id,
  client_message_id: ClientMessageId,
  attachments: Type.Optional(Type.Array(MediaRef)),
  reply_to: Type.Optional(Id),
  edited_at: Type.Optional(Time),
  deleted_at: Type.Optional(Time),
  expires_at: Type.Optional(Time),
  sent_at: Time,
  /** Checked by the server. With envelopes it covers all of them, so that a reader, who has one, can't check it again. */
  signature: Type.Optional(Signature),
  payload: Type.Optional(Payload),
});
export type Message = Static<typeof Message>;

export const Conversation = Type.Object({
  id: Id,
  type: ConversationType,
  name: Type.Optional(Type.String()),
  description: Type.Optional(Type.String()),
  avatar_url: Type.Optional(Type.String()),
  visibility: Type.Union([Type.Literal('private'), Type.Literal('public')]),
  slow_mode_sec: Type.Integer(),
  role: Role,
  last_seq: Seq,
  read_seq: Seq,
  unread_count: Type.Integer(),
  muted: Type.Boolean(),
  archived: Type.Boolean(),
  members_count: Type.Integer(),
  last_message: Type.Optional(Message),
  updated_at: Time,
});
export type Conversation = Static<typeof Conversation>;

export const Member = Type.Object({ user_id: Id, role: Role, joined_seq: Seq });
export type Member = Static<typeof Member>;
