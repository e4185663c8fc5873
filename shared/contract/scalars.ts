/** Values that many frames and routes share: ids, times, keys, envelopes. */
import Type, { type Static } from 'typebox';

/** UUIDv7 in lower case (RFC 9562), e.g. `01936f2a-7c1e-7b3a-9f00-0123456789ab`. */
export const Id = Type.String({
  pattern: '^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$',
  description: 'UUIDv7',
});
/** RFC 3339, UTC, milliseconds. */
export const Time = Type.String({ description: 'RFC 3339 UTC, milliseconds' });
/** The eight digits by which people find each other. */
export const AccountNumber = Type.String({ pattern: '^[0-9]{8}$' });
/** Chosen by the sending device, unique per sender for ever. It makes a retried command harmless: the same id is the same message. */
export const ClientMessageId = Type.String({ minLength: 1, maxLength: 64, pattern: '^[!-~]+$' });
/** Sealed bytes as text. The server never parses, logs or indexes it. Its limit in bytes is `MESSAGE_MAX_BYTES`. */
export const Payload = Type.String({ minLength: 1 });
/** Ed25519 signature by the sending device's signing key over the text of `signed.ts`; 64 bytes as base64. */
export const Signature = Type.String({ pattern: '^[A-Za-z0-9+/]{86}==$' });
export const Seq = Type.Integer({ minimum: 0, maximum: Number.MAX_SAFE_INTEGER });
/** The position of an item in a device's inbox: strictly increasing, opaque, at most 2^53 - 1 so that a double holds it exactly. */
export const Cursor = Type.Integer({ minimum: 0, maximum: Number.MAX_SAFE_INTEGER });

const strict = { additionalProperties: false } as const;

/** An attachment: names a blob that was uploaded sealed. */
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

/** A payload sealed for one device. The server compares `registration_id` with the device's own and refuses a stale one. */
export const Envelope = Type.Object(
  { device_id: Id, registration_id: Type.Optional(Type.Integer({ minimum: 0 })), payload: Payload },
  strict,
);

/** `channel` is reserved for channels: no route creates one yet. */
export const ConversationType = Type.Union([Type.Literal('direct'), Type.Literal('group'), Type.Literal('channel')]);
export type ConversationType = Static<typeof ConversationType>;
/** `admin` is reserved for roles in groups: no command gives it yet. */
export const Role = Type.Union([Type.Literal('owner'), Type.Literal('admin'), Type.Literal('member')]);
export type Role = Static<typeof Role>;
