/** Payment events on their way from the api to the worker: what signed bodies said, without what concerns nobody here. */
import { createHash } from 'node:crypto';
import type { PaymentEventType } from '../contract/payments.ts';

export interface ReceivedPayment {
  /** `id:<event id>`, or `sha256:<hex>` of type and body; the same for ever for the same event. */
  key: string;
  type: PaymentEventType;
  request_id: string;
  transfer_id?: string | undefined;
  conversation_id?: string | undefined;
  /** Milliseconds since 1970. */
  received_at: number;
  /** An operator asks: tell devices once more, also when nothing has changed. */
  replay?: true | undefined;
}

export function dedupeKey(type: string, id: string | undefined, body: Uint8Array): string {
  if (id !== undefined) return `id:${id}`;
  return `sha256:${createHash('sha256').update(`${type}\n`).update(body).digest('hex')}`;
}

/** One message of PAYMENTS: an event a line. */
export const encodePayments = (payments: ReceivedPayment[]): Buffer =>
  Buffer.from(payments.map((one) => JSON.stringify(one)).join('\n'));

/** @throws on what the api did not write: a dead letter. */
export function decodePayments(data: Uint8Array): ReceivedPayment[] {
  const text = Buffer.from(data.buffer, data.byteOffset, data.length).toString();
  return text.split('\n').map((line) => {
    const value = JSON.parse(line) as ReceivedPayment;
    if (typeof value.key !== 'string' || typeof value.request_id !== 'string') throw new Error('no payment event');
    return value;
  });
}
