/** Collects the inbox items of a batch by shard, in the order of the log. */
import { encodeItem, type ItemHead } from '../../nats/inbox/item.ts';
import type { OutgoingMessage } from '../../nats/publisher.ts';
import { subject } from '../../nats/topology.ts';
import { shardOf } from '../../shared/ids.ts';
import type { LogRecord } from '../../shared/pipeline/entry.ts';
import { type ItemSink, itemsOf, type Recipients } from './items-of-record.ts';

export interface ItemLimits {
  INBOX_SHARDS: number;
  STATUS_MAX_MEMBERS: number;
}

export class InboxItemBuilder implements ItemSink {
  readonly shards: OutgoingMessage[][];
  /** Items by user, for the quota. */
  readonly counts = new Map<string, number>();
  readonly recipients: Recipients;
  readonly statusMaxMembers: number;
  readonly #shardCount: number;
  readonly #cursorBases: number[];
  /** By shard: it has the items of the present entry already. Undefined where no shard has them. */
  #isWritten: boolean[] | undefined;

  /** `cursorBases`: by shard. */
  constructor(limits: ItemLimits, cursorBases: number[], recipients: Recipients) {
    this.#shardCount = limits.INBOX_SHARDS;
    this.statusMaxMembers = limits.STATUS_MAX_MEMBERS;
    this.#cursorBases = cursorBases;
    this.recipients = recipients;
    this.shards = cursorBases.map(() => []);
  }

  /** Begins an entry. `writtenUpTo`: by shard, the last entry that it has; no item is made for a shard that has this one. */
  beginEntry(entry: number, writtenUpTo: readonly number[]): void {
    this.#isWritten = writtenUpTo.some((last) => last >= entry) ? writtenUpTo.map((last) => last >= entry) : undefined;
  }

  /** Adds the items of a record of the present entry. */
  add({ meta, head, body }: LogRecord): void {
    itemsOf(meta.kind)(this, meta, head, body);
  }

  /** All users of a shard get the same bytes: only the cursor base differs between shards. */
  put(users: readonly string[], target: string, head: ItemHead, rest: Buffer[]): void {
    const encoded: Buffer[] = [];
    for (const user of users) {
      const shard = shardOf(user, this.#shardCount);
      if (this.#isWritten?.[shard]) continue;
      let data = encoded[shard];
      if (!data) {
        head.base = this.#cursorBases[shard]!;
        data = encodeItem(head, rest);
        encoded[shard] = data;
      }
      this.shards[shard]!.push({ subject: subject.inbox(user, target, this.#shardCount), data });
      this.counts.set(user, (this.counts.get(user) ?? 0) + 1);
    }
  }
}
