/** Encodes and decodes payment events between the api and payments-webhook: the fields of the signed bodies that are used. */
import { createHash } from 'node:crypto';
import type { PaymentEventType } from '../contract/payments.ts';

export interface ReceivedPayment {
  /** `id:<event id>`, or `sha256:<hex>` of type and body; always the same for the same event. */
  key: string;
  type: PaymentEventType;
  request_id: string;
  transfer_id?: string | undefined;
  conversation_id?: string | undefined;
  /** Milliseconds since 1970. */
  received_at: number;
  /** An operator asks to tell devices once more, also when nothing has changed. */
  replay?: true | undefined;
}

/** Returns the key by which an event is recognised when it is delivered again. */
export function dedupeKey(type: string, id: string | undefined, body: Uint8Array): string {
  if (id !== undefined) return `id:${id}`;
  return `sha256:${createHash('sha256').update(`${type}\n`).update(body).digest('hex')}`;
}

/** Encodes one message of PAYMENTS: a line for each event. */
export const encodePayments = (payments: ReceivedPayment[]): Buffer =>
  Buffer.from(payments.map((one) => JSON.stringify(one)).join('\n'));

/** @throws on bytes that the api did not write; the message becomes a dead letter */
export function decodePayments(data: Uint8Array): ReceivedPayment[] {
  const text = Buffer.from(data.buffer, data.byteOffset, data.length).toString();
  return text.split('\n').map((line) => {
    const value = JSON.parse(line) as ReceivedPayment;
    if (typeof value.key !== 'string' || typeof value.request_id !== 'string')
      throw new Error('a line is not a payment event');
    return value;
  });
}
