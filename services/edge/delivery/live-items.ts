/** Items as they are heard by core subscription. */

/** One item heard live, shared by all sockets of its user. */
export interface LiveItem {
  data: Buffer;
  cursor: number;
  seq: number;
  /** Sequence of the item before it on the same subject. */
  last: number;
  frame: Buffer | undefined;
}

/** What an inbox hears while it is not live: the items themselves if they are few, so that the replay has something to meet. */
export class Heard {
  /** The highest cursor. */
  cursor = 0;
  readonly #kept: number;
  #items: [LiveItem, own: boolean][] = [];

  /** `kept`: with more of them it begins anew. */
  constructor(kept: number) {
    this.#kept = kept;
  }

  add(one: LiveItem, own: boolean, keep: boolean): void {
    if (one.cursor > this.cursor) this.cursor = one.cursor;
    if (!keep) return;
    if (this.#items.length === this.#kept) this.#items = [];
    this.#items.push([one, own]);
  }

  clear(): void {
    this.cursor = 0;
    this.#items = [];
  }

  /** Whether what was kept goes on from an item that was sent. */
  meets(sent: number): boolean {
    return this.#items.length > 0 && this.#items[0]![0].cursor <= sent;
  }

  /** What was kept; it is forgotten here. */
  take(): [LiveItem, own: boolean][] {
    const items = this.#items;
    this.clear();
    return items;
  }
}
