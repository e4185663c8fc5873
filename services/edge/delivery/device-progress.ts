/**
 * Keeps how far one connected device has got: what it was sent, what it has acknowledged, and up to which time it has
 * everything. Sends items and passes acknowledgements on.
 */
import type { NatsConnection } from 'nats';
import { item, uuidBytes } from '../../../nats/inbox/item.ts';
import { uuid7Time } from '../../../shared/ids.ts';
import type { CursorWriter, DeviceCursor } from './cursor-writer.ts';
import type { DeliveryReceipts } from './delivery-receipts.ts';
import type { DeviceOutput } from './device-output.ts';
import { Unacknowledged } from './unacknowledged.ts';

export interface ProgressOptions {
  nc: NatsConnection;
  cursors: CursorWriter;
  receipts: DeliveryReceipts;
  /** Whether the edge is connected to NATS, as far as it knows. */
  broker: { readonly isConnected: boolean };
}

/** An item to be sent, live or replayed. */
interface DeliverableItem {
  data: Buffer;
  cursor: number;
  seq: number;
  /** Shared by all connections that send the item; made by the first. */
  frame: Buffer | undefined;
}

export class DeviceProgress {
  /** Cursor of the last item that was sent or skipped; -1 for a device that has none yet. */
  sentCursor = -1;
  /** Stream sequence of that item. */
  sentSeq = 0;
  /** The device has everything up to this cursor; -1 for a device that has none yet. */
  ackedCursor = -1;
  readonly #options: ProgressOptions;
  readonly #output: DeviceOutput;
  readonly #deviceBytes: Buffer;
  readonly #unacknowledged = new Unacknowledged();
  #isLive = false;
  #completeUntilMs: number;

  constructor(options: ProgressOptions, output: DeviceOutput) {
    this.#options = options;
    this.#output = output;
    this.#deviceBytes = uuidBytes(output.device_id);
    this.#completeUntilMs = uuid7Time(output.device_id);
  }

  get unacknowledged(): number {
    return this.#unacknowledged.size;
  }
  /** A restarted inbox goes on here: behind the last item that was sent. Undefined for a device that has no cursor yet. */
  get resumeFrom(): DeviceCursor | undefined {
    if (this.sentCursor < 0) return undefined;
    return { cursor: this.sentCursor, completeUntilMs: this.#completeUntilMs };
  }

  /** Takes over what the device had acknowledged when it connected. */
  restore({ cursor, completeUntilMs }: DeviceCursor): void {
    this.sentCursor = this.ackedCursor = cursor;
    this.#completeUntilMs = completeUntilMs;
  }

  /** Moves to a resume point. A device that had no cursor gets its first one. */
  resumeAt({ cursor, seq }: { cursor: number; seq: number }): void {
    if (this.sentCursor < 0) this.#advance(cursor, '');
    this.sentCursor = Math.max(this.sentCursor, cursor);
    this.sentSeq = seq;
  }

  /** Called on every phase change. */
  setLive(isLive: boolean): void {
    this.updateCompleteUntil();
    this.#isLive = isLive;
  }

  /** Notes that a live device which has acknowledged everything has what was stored up to now, while the broker is connected. */
  updateCompleteUntil(): void {
    if (this.#isLive && this.#unacknowledged.size === 0 && this.#options.broker.isConnected)
      this.#completeUntilMs = Date.now();
  }

  /**
   * Sends an item, or skips one that the device itself caused or that has expired.
   * @param reply where the durable is acknowledged; empty for a live item
   */
  deliver(deliverable: DeliverableItem, reply: string): void {
    const { data, cursor } = deliverable;
    this.sentCursor = cursor;
    this.sentSeq = deliverable.seq;
    const expiresAt = item.expiresAt(data);
    if (item.isFromDevice(data, this.#deviceBytes) || (expiresAt !== 0 && expiresAt <= Date.now())) {
      if (!this.#unacknowledged.extendLast(cursor, reply)) this.#advance(cursor, reply);
      return;
    }
    deliverable.frame ??= item.frame(data, cursor);
    this.#output.send(deliverable.frame);
    this.#unacknowledged.addItem(cursor, data, reply);
  }

  /** Passes over an item that the device already has. */
  skipTo(seq: number): void {
    this.sentSeq = Math.max(this.sentSeq, seq);
  }

  /** Goes on behind items that the device lost; it has been sent `inbox.gap` for everything up to `cursor`. */
  skipGap(cursor: number): void {
    this.sentCursor = Math.max(this.sentCursor, cursor);
    this.#unacknowledged.addGap(this.sentCursor);
  }

  /** @returns true when the device had not acknowledged as much before */
  acknowledge(cursor: number): boolean {
    const { upTo, reply, prefixes } = this.#unacknowledged.acknowledge(Math.min(cursor, this.sentCursor));
    const { user_id, device_id } = this.#output;
    for (const prefix of prefixes) this.#options.receipts.add(user_id, device_id, prefix);
    if (upTo === undefined || upTo <= this.ackedCursor) return false;
    this.#advance(upTo, reply);
    return true;
  }

  /** Forgets acknowledgements that were meant for a durable that is gone or reset. */
  forgetDurable(): void {
    this.#unacknowledged.forgetReplies();
  }

  /**
   * Writes the cursor once more. Without that, an item that is dropped for its age while the device is offline would count as
   * lost if it was stored after the last acknowledgement, though the device had it.
   */
  save(): void {
    if (this.ackedCursor >= 0)
      this.#options.cursors.set(this.#output.device_id, this.ackedCursor, this.#completeUntilMs);
  }

  #advance(cursor: number, reply: string): void {
    this.ackedCursor = cursor;
    this.updateCompleteUntil();
    this.#options.cursors.set(this.#output.device_id, cursor, this.#completeUntilMs);
    if (reply) this.#options.nc.publish(reply, '+ACK');
  }
}
