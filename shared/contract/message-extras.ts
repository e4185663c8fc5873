/** The body of a message and its optional fields, declared once: the frame, the HTTP call and `Message` are made from these. */
import Type, { type Static } from 'typebox';
import { ClientMessageId, Envelope, Id, MediaRef, Payload, Signature } from './scalars.ts';

/** A new optional field of a message is added here, and its type in shared/pipeline follows. */
export const MessageExtras = {
  attachments: Type.Optional(Type.Array(MediaRef, { maxItems: 32 })),
  reply_to: Type.Optional(Id),
  expires_in_sec: Type.Optional(Type.Integer({ minimum: 1, maximum: 366 * 86_400 })),
  signature: Type.Optional(Signature),
};
const Extras = Type.Object(MessageExtras);
export type MessageExtras = Static<typeof Extras>;

/** The fields of a message as its sender gives them, over HTTP and over the socket alike. */
export const MessageBody = {
  client_message_id: ClientMessageId,
  payload: Type.Optional(Payload),
  envelopes: Type.Optional(Type.Array(Envelope, { minItems: 1, maxItems: 10_000 })),
  ...MessageExtras,
};
