/** Objects that replies and frames show: people, devices, conversations, messages. */
import Type, { type Static } from 'typebox';
import { MessageExtras } from './message-extras.ts';
import { AccountNumber, ClientMessageId, ConversationType, Id, Payload, Role, Seq, Time } from './scalars.ts';

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
/** A device as other people see it: the fields needed to seal for it and to verify what it signs. */
export const PublicDevice = Type.Object({
  id: Id,
  user_id: Id,
  identity_key: Type.Optional(Type.String()),
  signing_key: Type.Optional(Type.String()),
  registration_id: Type.Optional(Type.Integer()),
});
export type PublicDevice = Static<typeof PublicDevice>;

const { expires_in_sec: _, signature, ...extras } = MessageExtras;
/**
 * A message as a device reads it. With envelopes, `payload` is the one of the reading device. `payload` is the last field, since
 * the services append it to the other fields without parsing it. `expires_at` takes the place of `expires_in_sec`.
 */
export const Message = Type.Object({
  id: Id,
  conversation_id: Id,
  seq: Seq,
  sender_id: Id,
  sender_device_id: Id,
  client_message_id: ClientMessageId,
  ...extras,
  edited_at: Type.Optional(Time),
  deleted_at: Type.Optional(Time),
  expires_at: Type.Optional(Time),
  sent_at: Time,
  /** Verified by the server. With envelopes it covers all of them: a device has only its own, so it cannot verify it again. */
  signature,
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
  /** Reserved for settings of a conversation: always false. */
  muted: Type.Boolean(),
  /** As `muted`. */
  archived: Type.Boolean(),
  members_count: Type.Integer(),
  /** Reserved: no reply holds it yet. */
  last_message: Type.Optional(Message),
  updated_at: Time,
});
export type Conversation = Static<typeof Conversation>;

export const Member = Type.Object({ user_id: Id, role: Role, joined_seq: Seq });
export type Member = Static<typeof Member>;
