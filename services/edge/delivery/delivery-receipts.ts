/**
 * Publishes `delivered` to the senders of acknowledged messages, on whichever edge they are connected. Receipts are cumulative
 * for each conversation, sender and device, and those of one event-loop turn go together. They may be lost; what lasts is the
 * event that `CursorWriter` writes with the device's cursor.
 */
import type { NatsConnection } from 'nats';
import { item } from '../../../nats/inbox/item.ts';
import { subject } from '../../../nats/topology.ts';
import type { Config } from '../../../shared/config/index.ts';
import type { CursorWriter } from './cursor-writer.ts';

/** The beginning of the signal; the rest of it is that of the frame. */
export const DELIVERED_SIGNAL = Buffer.from('{"t":"delivered",');
const FRAME_START = Buffer.from('{"type":"message.status","status":"delivered",');

export class DeliveryReceipts {
  readonly #nc: NatsConnection;
  readonly #config: Pick<Config, 'DELIVERED_EVENTS' | 'INBOX_SHARDS'>;
  readonly #cursors: CursorWriter;
  /** Of this turn, by conversation, sender and device. */
  #receipts = new Map<string, { prefix: Buffer; user_id: string; device_id: string }>();

  constructor(nc: NatsConnection, config: Pick<Config, 'DELIVERED_EVENTS' | 'INBOX_SHARDS'>, cursors: CursorWriter) {
    this.#nc = nc;
    this.#cursors = cursors;
    this.#config = config;
  }

  /** @param prefix that of the newest acknowledged item of a sender in a conversation */
  add(user_id: string, device_id: string, prefix: Buffer): void {
    if (this.#receipts.size === 0) setImmediate(() => this.#publish());
    this.#receipts.set(item.senderKey(prefix) + device_id, { prefix, user_id, device_id });
    if (this.#config.DELIVERED_EVENTS) this.#cursors.addDelivered(user_id, device_id, prefix);
  }

  #publish(): void {
    const receipts = this.#receipts;
    this.#receipts = new Map();
    if (this.#nc.isClosed()) return;
    for (const { prefix, user_id, device_id } of receipts.values()) {
      const conversation = item.conversationId(prefix);
      this.#nc.publish(
        subject.signal(item.userId(prefix), this.#config.INBOX_SHARDS),
        `{"t":"delivered","conversation_id":"${conversation}","seq":${item.seq(prefix)},"message_id":"${item.messageId(prefix)}","user_id":"${user_id}","device_id":"${device_id}"}`,
      );
    }
  }
}

/** Makes the frame for the sender's connections out of the signal. */
export const deliveredFrame = (signal: Buffer): Buffer =>
  Buffer.concat([FRAME_START, signal.subarray(DELIVERED_SIGNAL.length)]);
