/**
 * Follows the items of one inbox that come by core subscription: notices when one is missing, and keeps those that come while
 * the inbox is not live, so that its replay has something to meet.
 */

/** One item that came by core subscription, shared by all connections of its user. */
export interface LiveItem {
  data: Buffer;
  cursor: number;
  seq: number;
  /** Sequence of the item before it on the same subject. */
  previousSeq: number;
  /** Made by the first connection that sends the item. */
  frame: Buffer | undefined;
}

/** Cursor and stream sequence of the last item that the device was sent. */
type SentUpTo = { readonly sentCursor: number; readonly sentSeq: number };

export class LiveItems {
  readonly #capacity: number;
  /** Sequences of the last items that were sent live, addressed to all devices of the user and to this one. */
  #lastSharedSeq = 0;
  #lastOwnSeq = 0;
  #kept: [LiveItem, isOwn: boolean][] = [];
  /** The highest cursor that came while the inbox was not live, also of items that were not kept. */
  #highestCursor = 0;
  /** An item for the device is known to have this sequence: a replay is not finished before it has come. */
  #targetSeq = 0;

  /** With more than `capacity` kept items it drops them and begins again. */
  constructor(capacity: number) {
    this.#capacity = capacity;
  }

  /** @returns true when an item before this one did not come; a replay must then bring that item */
  isMissingBefore({ previousSeq }: LiveItem, isOwn: boolean): boolean {
    if (previousSeq <= (isOwn ? this.#lastOwnSeq : this.#lastSharedSeq)) return false;
    this.#targetSeq = previousSeq;
    return true;
  }

  /** Notes an item that is sent at once. */
  setLast({ seq }: LiveItem, isOwn: boolean): void {
    if (isOwn) this.#lastOwnSeq = seq;
    else this.#lastSharedSeq = seq;
  }

  /** Notes an item that can't be sent now. @param keep false where the replay begins only later and will bring it */
  add(liveItem: LiveItem, isOwn: boolean, keep: boolean): void {
    if (liveItem.cursor > this.#highestCursor) this.#highestCursor = liveItem.cursor;
    if (!keep) return;
    if (this.#kept.length === this.#capacity) this.#kept = [];
    this.#kept.push([liveItem, isOwn]);
  }

  clear(): void {
    this.#highestCursor = 0;
    this.#kept = [];
  }

  setTarget(seq: number): void {
    this.#targetSeq = seq;
  }

  /** True when nothing is known that comes after what was sent. */
  hasNothingAfter({ sentCursor, sentSeq }: SentUpTo): boolean {
    return this.#highestCursor <= sentCursor && sentSeq >= this.#targetSeq;
  }

  /**
   * True when a replay need bring nothing further: what was kept follows on from it, or nothing is left.
   * @param isDrained the durable has no more items; one whose replica of the stream lags says so too early
   */
  areMetBy(sent: SentUpTo, isDrained: boolean): boolean {
    if (this.#kept.length > 0 && this.#kept[0]![0].cursor <= sent.sentCursor) return true;
    return isDrained && this.hasNothingAfter(sent);
  }

  /** The inbox is live and has everything up to `sentSeq`. @returns what was kept, and forgets it */
  goLive(sentSeq: number): [LiveItem, isOwn: boolean][] {
    this.#lastSharedSeq = this.#lastOwnSeq = sentSeq;
    const kept = this.#kept;
    this.clear();
    return kept;
  }
}
