/**
 * Encodes and decodes an entry of LOG: the records of one append, `[u32 metaLen][u32 headLen][u32 bodyLen][meta: JSON][head][body]` each.
 * For a message `head` is the reader's JSON object up to and including `"payload":`, and `body` the payload's literal,
 * so that a frame is made by joining bytes. With envelopes `body` is as in commands.ts and one literal is joined.
 */
import type { PaymentState } from '../contract/payments.ts';
import type { ConversationType, Role } from '../contract/scalars.ts';
import type { NoticeCommand, SentExtras } from './commands.ts';

interface Recorded {
  conversation_id: string;
  /** Number in the conversation: a message takes the next one; a read record has the seq up to which it was read. */
  seq: number;
  user_id: string;
  device_id: string;
  /** Milliseconds since 1970. */
  at: number;
  /** The gateway that is told `sent`, and the tag of its command. */
  gateway?: string | undefined;
  tag?: number | undefined;
}
/** The optional fields of a message as they are recorded: `expires_at`, ms since 1970, takes the place of `expires_in_sec`. */
export type RecordedExtras = Omit<SentExtras, 'expires_in_sec'> & { expires_at?: number | undefined };
export interface MessageRecord extends Recorded, RecordedExtras {
  kind: 'message';
  id: string;
  client_message_id: string;
  /** Direct conversations carry their two people; for groups fanout knows the members. */
  pair?: [string, string] | undefined;
  /** It is the first message of a direct conversation, which it creates. */
  opens?: true | undefined;
  /** The sender has other devices, which get a copy. */
  self?: true | undefined;
  envelopes?: { device_id: string; user_id: string }[] | undefined;
}
/** A new conversation, empty. */
export interface ConversationRecord extends Recorded {
  kind: 'conversation';
  type: ConversationType;
  name?: string | undefined;
  description?: string | undefined;
  members: [user: string, role: Role][];
}
export interface ReadRecord extends Recorded {
  kind: 'read';
  pair?: [string, string] | undefined;
}
/** A notice as its command says it; it belongs to no conversation. */
export interface NoticeRecord extends Recorded, Pick<NoticeCommand, 'type' | 'audience' | 'fields' | 'removed'> {
  kind: 'notice';
}
/** `seq` is that of the conversation's last message; the author is empty where no person asked. */
export interface PaymentRecord extends Recorded {
  kind: 'payment';
  pair?: [string, string] | undefined;
  request_id: string;
  state: PaymentState;
  transfer_id?: string | undefined;
}
export type LogMeta = MessageRecord | ConversationRecord | ReadRecord | NoticeRecord | PaymentRecord;
export interface LogRecord {
  meta: LogMeta;
  head: Buffer;
  body: Buffer;
}

const NONE = Buffer.alloc(0);

/** Encodes one entry. */
export class EntryWriter {
  readonly #parts: Buffer[] = [];
  bytes = 0;
  count = 0;

  add(meta: LogMeta, head: Buffer = NONE, body: Uint8Array = NONE): void {
    const json = Buffer.from(JSON.stringify(meta));
    const lengths = Buffer.allocUnsafe(12);
    lengths.writeUInt32LE(json.length);
    lengths.writeUInt32LE(head.length, 4);
    lengths.writeUInt32LE(body.length, 8);
    for (const part of [lengths, json, head, Buffer.from(body.buffer, body.byteOffset, body.length)]) {
      this.#parts.push(part);
      this.bytes += part.length;
    }
    this.count++;
  }

  finish(): Buffer {
    return Buffer.concat(this.#parts, this.bytes);
  }
}

/** Heads and bodies are views into `data`. @throws on bytes that ingest did not write; the entry becomes a dead letter */
export function decodeEntry(data: Uint8Array): LogRecord[] {
  const view = Buffer.from(data.buffer, data.byteOffset, data.length);
  const out: LogRecord[] = [];
  for (let at = 0; at < view.length; ) {
    const metaEnd = at + 12 + view.readUInt32LE(at);
    const headEnd = metaEnd + view.readUInt32LE(at + 4);
    const bodyEnd = headEnd + view.readUInt32LE(at + 8);
    if (bodyEnd > view.length) throw new Error('a record runs past the end of its entry');
    out.push({
      meta: JSON.parse(view.toString('utf8', at + 12, metaEnd)) as LogMeta,
      head: view.subarray(metaEnd, headEnd),
      body: view.subarray(headEnd, bodyEnd),
    });
    at = bodyEnd;
  }
  return out;
}
