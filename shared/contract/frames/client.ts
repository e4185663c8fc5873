/** The frames that a client sends, and a compiled check for each. Subprotocol `sealwire.v1.json`. */
import Type, { type Static } from 'typebox';
import { MessageBody } from '../message-extras.ts';
import { AccountNumber, Cursor, Id, Seq } from '../scalars.ts';
import { checker } from '../validate.ts';
import { CommandId } from './command-id.ts';

const strict = { additionalProperties: false } as const;

/** Sends a message into a conversation, or into the direct conversation with a person. */
export const MessageSend = Type.Object(
  {
    type: Type.Literal('message.send'),
    id: CommandId,
    conversation_id: Type.Optional(Id),
    to: Type.Optional(Type.Object({ user_id: Type.Optional(Id), number: Type.Optional(AccountNumber) }, strict)),
    ...MessageBody,
  },
  strict,
);
/** Everything up to and including `cursor` is safe on the device. Has no answer. */
export const InboxAck = Type.Object({ type: Type.Literal('inbox.ack'), id: CommandId, cursor: Cursor }, strict);
/** The person has read the conversation up to and including `seq`. */
export const ReceiptRead = Type.Object(
  { type: Type.Literal('receipt.read'), id: CommandId, conversation_id: Id, seq: Seq },
  strict,
);
/** Asks for one page: ascending from `after_seq`, or descending from `before_seq` or from the newest message. */
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
/** `contacts` is reserved for the state of contacts in the answer: it is accepted and has no effect yet. */
export const Ping = Type.Object(
  { type: Type.Literal('ping'), id: CommandId, contacts: Type.Optional(Type.Boolean()) },
  strict,
);

export type MessageSend = Static<typeof MessageSend>;
export type InboxAck = Static<typeof InboxAck>;
export type ReceiptRead = Static<typeof ReceiptRead>;
export type HistoryGet = Static<typeof HistoryGet>;
export type Ping = Static<typeof Ping>;

/** Every frame that a client may send. */
export const CLIENT_FRAME_SCHEMAS = [MessageSend, InboxAck, ReceiptRead, HistoryGet, Ping] as const;
export type ClientFrame = Static<(typeof CLIENT_FRAME_SCHEMAS)[number]>;

/** One compiled check for each type of frame. An unknown type has none. */
export const CLIENT_FRAMES: ReadonlyMap<string, (value: unknown) => ClientFrame> = new Map(
  CLIENT_FRAME_SCHEMAS.map((schema) => {
    const type = schema.properties.type.const;
    return [type, checker(schema, type) as (value: unknown) => ClientFrame];
  }),
);
