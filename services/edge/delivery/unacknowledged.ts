/** What a device was sent and has not acknowledged, in cursor order. Acknowledgement is cumulative. */
import { item } from '../../../nats/inbox/item.ts';

interface Entry {
  cursor: number;
  /** Acknowledging it covers everything up to here: items that were passed over follow it. */
  upto: number;
  /** Where the durable hears of it, if it came from there. */
  reply: string;
  /** The item's prefix, where its sender wants to hear `delivered`. */
  about: Buffer | undefined;
}
export interface Acked {
  /** Everything up to here is safe on the device; undefined when nothing new is. */
  upto: number | undefined;
  /** Acknowledges as much of the durable. */
  reply: string;
  /** Prefix of the newest item of each run of one sender in one conversation. */
  about: Buffer[];
}

const PREFIX = 91;
const COMPACT = 256;

export class Unacknowledged {
  #entries: Entry[] = [];
  #head = 0;

  get size(): number {
    return this.#entries.length - this.#head;
  }

  sent(cursor: number, data: Buffer, reply: string): void {
    // A copy: the item is a view into what the broker sent, which must not be kept for it.
    const about = item.wantsDelivered(data) ? Buffer.from(data.subarray(0, PREFIX)) : undefined;
    this.#entries.push({ cursor, upto: cursor, reply, about });
  }

  /** The device was told that it lost what comes before `cursor`. */
  told(cursor: number): void {
    this.#entries.push({ cursor, upto: cursor, reply: '', about: undefined });
  }

  /** Nothing of it is for this device. @returns false when nothing is before it: it counts as acknowledged. */
  passedOver(cursor: number, reply: string): boolean {
    const before = this.size ? this.#entries.at(-1) : undefined;
    if (!before) return false;
    before.upto = cursor;
    if (reply) before.reply = reply;
    return true;
  }

  ack(cursor: number): Acked {
    const acked: Acked = { upto: undefined, reply: '', about: [] };
    let last: Buffer | undefined;
    for (; this.#head < this.#entries.length; this.#head++) {
      const entry = this.#entries[this.#head]!;
      if (entry.cursor > cursor) break;
      acked.upto = entry.upto;
      if (entry.reply) acked.reply = entry.reply;
      if (!entry.about) continue;
      if (last && !sameThread(last, entry.about)) acked.about.push(last);
      last = entry.about;
    }
    if (last) acked.about.push(last);
    if (this.#head === this.#entries.length || this.#head > COMPACT) {
      this.#entries = this.#head === this.#entries.length ? [] : this.#entries.slice(this.#head);
      this.#head = 0;
    }
    return acked;
  }

  /** The durable is gone or begun anew: an old acknowledgement would mean something else to it. */
  forgetDurable(): void {
    for (const entry of this.#entries) entry.reply = '';
  }
}

/** Of the same sender in the same conversation, so that the later one covers the earlier. */
const sameThread = (a: Buffer, b: Buffer): boolean =>
  a.compare(b, 42, 58, 42, 58) === 0 && a.compare(b, 74, 90, 74, 90) === 0;
