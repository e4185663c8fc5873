/**
 * Encodes commands on their way from a gateway (edge or api) to ingest, and ingest's answers. Internal: not a client contract.
 *
 * One INGRESS message is one batch, `[u16 replyLen][reply]` and then per command
 * `[u32 tag][u32 metaLen][u32 bodyLen][meta: JSON][body]`. The body is the payload's JSON literal (quotes included),
 * or with envelopes `[u32 len][literal]` for each device in meta's order: no service on the way parses these bytes.
 */
import type { ErrorBody } from '../contract/errors.ts';
import type { MessageExtras } from '../contract/message-extras.ts';
import type { PaymentState } from '../contract/payments.ts';

/** Every field of `T`, so that an object literal which leaves one out does not compile; undefined where there is none. */
export type Explicit<T> = { [K in keyof T]-?: T[K] | undefined };
/** The optional fields of a message as its sender gave them, checked already. */
export type SentExtras = Partial<Explicit<MessageExtras>>;

interface Author {
  user_id: string;
  device_id: string;
}
export interface SendCommand extends Author, SentExtras {
  kind: 'send';
  conversation_id: string;
  /** The other person of a direct conversation, where the sender named a person. */
  to?: string | undefined;
  client_message_id: string;
  /** Devices of the envelopes in the body, in order; absent for one payload for all. */
  envelopes?: { device_id: string; registration_id?: number | undefined }[] | undefined;
}
export interface CreateCommand extends Author {
  kind: 'create';
  conversation_id: string;
  type: 'group';
  name?: string | undefined;
  description?: string | undefined;
  member_ids: string[];
}
export interface DirectCommand extends Author {
  kind: 'direct';
  conversation_id: string;
  to: string;
}
export interface ReadCommand extends Author {
  kind: 'read';
  conversation_id: string;
  seq: number;
}
/** Makes an inbox item about a person, outside of conversations. */
export interface NoticeCommand extends Author {
  kind: 'notice';
  /** The person's id, so that all notices about a person pass one partition and keep their order. */
  conversation_id: string;
  type: 'device.changed' | 'keys.low';
  /** Everybody who shares a conversation with the person, and the person's other devices; or one device of the person. */
  audience: 'partners' | { device_id: string };
  /** Fields of the frame beside `type` and `cursor`. */
  fields: Record<string, unknown>;
  /** A device that was deleted: fanout removes its items and its durable consumer. */
  removed?: string | undefined;
}
/** Records the state of a payment request in a conversation. `user_id` and `device_id` are empty where no person asks. */
export interface PaymentCommand extends Author {
  kind: 'payment';
  conversation_id: string;
  request_id: string;
  state: PaymentState;
  transfer_id?: string | undefined;
  /** Record the state once more where the conversation has it already. */
  again?: true | undefined;
}
export type Command = SendCommand | CreateCommand | DirectCommand | ReadCommand | NoticeCommand | PaymentCommand;

/** The answer of ingest once the record is durable. `message_id` is empty for commands that make no message. */
export interface Answer {
  message_id: string;
  conversation_id: string;
  seq: number;
  /** The command came before and was answered then. */
  repeated: boolean;
}
/** One core message on `reply.<gateway>`. */
export type Reply = {
  /** `[tag, message_id, conversation_id, seq, repeated]` */
  answers?: [number, string, string, number, 0 | 1][];
  errors?: [number, ErrorBody][];
  /** Commands whose message is in every recipient's inbox. */
  sent?: number[];
};

export interface Incoming {
  tag: number;
  command: Command;
  body: Uint8Array;
}
/** The commands of one INGRESS message and the subject that their answers go to. */
export interface IncomingBatch {
  reply: string;
  commands: Incoming[];
}

const EMPTY = new Uint8Array(0);

/** Encodes one INGRESS message. */
export class CommandBatch {
  readonly #parts: Buffer[] = [];
  bytes = 0;
  count = 0;

  constructor(reply: string) {
    const head = Buffer.allocUnsafe(2 + reply.length);
    head.writeUInt16LE(reply.length);
    head.write(reply, 2, 'latin1');
    this.#push(head);
  }

  add(tag: number, meta: Buffer, body: Uint8Array = EMPTY): void {
    const head = Buffer.allocUnsafe(12);
    head.writeUInt32LE(tag);
    head.writeUInt32LE(meta.length, 4);
    head.writeUInt32LE(body.length, 8);
    this.#push(head);
    this.#push(meta);
    if (body.length) this.#push(Buffer.from(body.buffer, body.byteOffset, body.length));
    this.count++;
  }

  finish(): Buffer {
    return Buffer.concat(this.#parts, this.bytes);
  }

  #push(part: Buffer): void {
    this.#parts.push(part);
    this.bytes += part.length;
  }
}

/** Bodies are views into `data`. @throws on bytes that no gateway wrote; the batch becomes a dead letter */
export function decodeCommands(data: Uint8Array): IncomingBatch {
  const view = Buffer.from(data.buffer, data.byteOffset, data.length);
  let at = 2 + view.readUInt16LE(0);
  const reply = view.toString('latin1', 2, at);
  if (at >= view.length) throw new Error('a batch without commands');
  const commands: Incoming[] = [];
  while (at < view.length) {
    const tag = view.readUInt32LE(at);
    const metaEnd = at + 12 + view.readUInt32LE(at + 4);
    const bodyEnd = metaEnd + view.readUInt32LE(at + 8);
    if (bodyEnd > view.length) throw new Error('a command runs past the end of its batch');
    commands.push({
      tag,
      command: JSON.parse(view.toString('utf8', at + 12, metaEnd)) as Command,
      body: view.subarray(metaEnd, bodyEnd),
    });
    at = bodyEnd;
  }
  return { reply, commands };
}

/** Packs the payloads of envelopes into one body: `[u32 len][literal]` each. */
export function packEnvelopes(literals: string[]): Buffer {
  const parts = literals.map((literal) => Buffer.from(literal));
  const out = Buffer.allocUnsafe(parts.reduce((sum, p) => sum + 4 + p.length, 0));
  let at = 0;
  for (const part of parts) {
    at = out.writeUInt32LE(part.length, at);
    at += part.copy(out, at);
  }
  return out;
}

/** Returns views into `body`. @throws when the lengths don't add up */
export function unpackEnvelopes(body: Uint8Array): Buffer[] {
  const view = Buffer.from(body.buffer, body.byteOffset, body.length);
  const out: Buffer[] = [];
  for (let at = 0; at < view.length; ) {
    const end = at + 4 + view.readUInt32LE(at);
    if (end > view.length) throw new Error('an envelope runs past the end of its body');
    out.push(view.subarray(at + 4, end));
    at = end;
  }
  return out;
}
