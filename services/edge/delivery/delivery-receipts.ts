/**
 * `delivered` for senders: cumulative per conversation, sender and device, gathered over a turn and published to the
 * sender's live sockets, wherever they are. What lasts is the event that is written with the device's cursor.
 */
import type { NatsConnection } from 'nats';
import { item } from '../../../nats/inbox/item.ts';
import { subject } from '../../../nats/topology.ts';
import type { Config } from '../../../shared/config/index.ts';
import type { CursorWriter } from './cursor-writer.ts';

/** So begins the signal; the rest is that of the frame. */
export const DELIVERED = Buffer.from('{"t":"delivered",');
const FRAME = Buffer.from('{"type":"message.status","status":"delivered",');

export class DeliveryReceipts {
  readonly #nc: NatsConnection;
  readonly #config: Config;
  readonly #cursors: CursorWriter;
  #found = new Map<string, { about: Buffer; user_id: string; device_id: string }>();

  constructor(nc: NatsConnection, config: Config, cursors: CursorWriter) {
    this.#nc = nc;
    this.#cursors = cursors;
    this.#config = config;
  }

  /** `about`: prefix of the newest acknowledged item of a sender in a conversation. */
  add(user_id: string, device_id: string, about: Buffer): void {
    if (this.#found.size === 0) setImmediate(() => this.#publish());
    this.#found.set(about.toString('latin1', 42, 58) + about.toString('latin1', 74, 90) + device_id, {
      about,
      user_id,
      device_id,
    });
    if (this.#config.DELIVERED_EVENTS) this.#cursors.note(user_id, device_id, about);
  }

  #publish(): void {
    const found = this.#found;
    this.#found = new Map();
    if (this.#nc.isClosed()) return;
    for (const { about, user_id, device_id } of found.values()) {
      const conversation = item.conversationId(about);
      this.#nc.publish(
        subject.signal(item.userId(about), this.#config.INBOX_SHARDS),
        `{"t":"delivered","conversation_id":"${conversation}","seq":${item.seq(about)},"message_id":"${item.messageId(about)}","user_id":"${user_id}","device_id":"${device_id}"}`,
      );
    }
  }
}

/** The frame for the sender's sockets. */
export const deliveredFrame = (signal: Buffer): Buffer => Buffer.concat([FRAME, signal.subarray(DELIVERED.length)]);
