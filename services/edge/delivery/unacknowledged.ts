/** Keeps what a device was sent and has not acknowledged, in cursor order. Acknowledgements are cumulative. */
import { item } from '../../../nats/inbox/item.ts';

interface Entry {
  cursor: number;
  /** An acknowledgement of the entry covers everything up to here: items that were not sent may follow it. */
  upTo: number;
  /** Subject that acknowledges the item to the durable it came from; empty for a live item. */
  reply: string;
  /** The item's fixed prefix, where its sender asked for `delivered`. */
  prefix: Buffer | undefined;
}
interface Acknowledged {
  /** The device has everything up to this cursor; undefined when that is nothing new. */
  upTo: number | undefined;
  /** Acknowledges as much of the durable; empty when nothing of it came from there. */
  reply: string;
  /** Prefix of the newest item of each run of items of one sender in one conversation. */
  prefixes: Buffer[];
}

/** Acknowledged entries at the beginning of the array, beyond which they are cut off. */
const COMPACT_AT = 256;

export class Unacknowledged {
  #entries: Entry[] = [];
  /** Index of the first entry that is not acknowledged. */
  #first = 0;

  get size(): number {
    return this.#entries.length - this.#first;
  }

  addItem(cursor: number, data: Buffer, reply: string): void {
    // A copy: the item is a view into a large buffer of the NATS connection, which would be kept for it.
    const prefix = item.wantsDelivered(data) ? item.copyPrefix(data) : undefined;
    this.#entries.push({ cursor, upTo: cursor, reply, prefix });
  }

  /** The device was sent `inbox.gap` for what comes before `cursor`. */
  addGap(cursor: number): void {
    this.#entries.push({ cursor, upTo: cursor, reply: '', prefix: undefined });
  }

  /**
   * Counts an item that is not for this device as covered by the entry before it.
   * @returns false when there is none: then the item counts as acknowledged
   */
  extendLast(cursor: number, reply: string): boolean {
    const last = this.size ? this.#entries.at(-1) : undefined;
    if (!last) return false;
    last.upTo = cursor;
    if (reply) last.reply = reply;
    return true;
  }

  /** Removes everything up to `cursor`. */
  acknowledge(cursor: number): Acknowledged {
    const acknowledged: Acknowledged = { upTo: undefined, reply: '', prefixes: [] };
    let newest: Buffer | undefined;
    for (; this.#first < this.#entries.length; this.#first++) {
      const entry = this.#entries[this.#first]!;
      if (entry.cursor > cursor) break;
      acknowledged.upTo = entry.upTo;
      if (entry.reply) acknowledged.reply = entry.reply;
      if (!entry.prefix) continue;
      if (newest && !item.hasSameSender(newest, entry.prefix)) acknowledged.prefixes.push(newest);
      newest = entry.prefix;
    }
    if (newest) acknowledged.prefixes.push(newest);
    if (this.#first === this.#entries.length || this.#first > COMPACT_AT) {
      this.#entries = this.#first === this.#entries.length ? [] : this.#entries.slice(this.#first);
      this.#first = 0;
    }
    return acknowledged;
  }

  /** Forgets where the durable is acknowledged, once it is gone or reset: to it an old acknowledgement would mean other items. */
  forgetReplies(): void {
    for (const entry of this.#entries) entry.reply = '';
  }
}
