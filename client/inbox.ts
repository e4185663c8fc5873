/**
 * Handles the items of a device one at a time, in cursor order, and then acknowledges them. An item that was handled
 * before is skipped. After a failed handler nothing is handled until the server delivers again from the last ack.
 */
import type { ServerFrame } from '../shared/contract/frames/server.ts';

export type Item = Extract<ServerFrame, { type: 'inbox.empty' | 'inbox.gap' }> | (ServerFrame & { cursor: number });

interface Options {
  /** Handles one item. The item counts as handled once this has returned or resolved. */
  handle(item: Item): undefined | Promise<unknown>;
  /** Acknowledges to the server. Returns false when there is no open socket. */
  ack(cursor: number): boolean;
  onHandlerFailed(error: unknown): void;
  /** Items after which the cursor is acknowledged at once. */
  ack_every: number;
}

/** The acks of all inboxes of this process are sent together, so that any number of devices needs one timer. */
const ACK_WITHIN_MS = 50;
/** `close` waits this long for a handler that is running. */
const CLOSE_TIMEOUT_MS = 2_000;
const inboxesToAck = new Set<Inbox>();
function flushAllAcks(): void {
  const inboxes = [...inboxesToAck];
  inboxesToAck.clear();
  for (const inbox of inboxes) inbox.flushAck();
}

export class Inbox {
  /** Everything up to this cursor was handled. */
  cursor = 0;
  isClosing = false;
  #ackedCursor = 0;
  #unackedCount = 0;
  #isHandling = false;
  #hasFailed = false;
  /** Incremented in a new epoch, in which cursors start again: handlers that began earlier must not advance the new cursor. */
  #cursorSeries = 0;
  #onIdle: (() => void) | undefined;
  #queue: Item[] = [];
  #options: Options;

  constructor(options: Options) {
    this.#options = options;
  }

  /**
   * Starts handling the items of a new socket.
   * @param cursor the last cursor that the server has as acknowledged
   * @param isNewEpoch true when earlier cursors have lost their meaning
   */
  handleOpen(cursor: number, isNewEpoch: boolean): void {
    this.#hasFailed = false;
    this.isClosing = false;
    this.#queue.length = 0;
    this.#ackedCursor = cursor;
    if (isNewEpoch) this.#cursorSeries++;
    if (isNewEpoch || cursor > this.cursor) this.cursor = cursor;
  }

  /** Drops the queue: the server delivers these items again on the next socket. */
  handleDisconnect(): void {
    this.#queue.length = 0;
  }

  /** Stops handling items until `handleOpen`. Waits up to 2 s for a running handler, then acknowledges. */
  async close(): Promise<void> {
    this.isClosing = true;
    this.#queue.length = 0;
    if (this.#isHandling) {
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, CLOSE_TIMEOUT_MS);
        this.#onIdle = () => {
          clearTimeout(timer);
          resolve();
        };
      });
    }
    this.flushAck();
  }

  /** Handles an item, after those before it. */
  receive(item: Item): void {
    if (this.#hasFailed || this.isClosing) return;
    if (this.#isHandling) this.#queue.push(item);
    else this.#handleFrom(item);
  }

  flushAck(): void {
    this.#unackedCount = 0;
    if (this.cursor > this.#ackedCursor && this.#options.ack(this.cursor)) this.#ackedCursor = this.cursor;
  }

  /** Handles this item and the queue behind it, until a handler returns a promise. */
  #handleFrom(first: Item | undefined): void {
    for (let item = first; item !== undefined; item = this.#queue.shift()) {
      const cursor = cursorAfter(item);
      if (cursor !== 0 && cursor <= this.cursor) {
        // Handled before, but the ack was lost. The server accepts an ack only for what it has sent on this socket.
        this.#ackedCursor = Math.min(this.#ackedCursor, cursor - 1);
        this.#scheduleAck();
        continue;
      }
      let result: undefined | Promise<unknown>;
      try {
        result = this.#options.handle(item);
      } catch (error) {
        this.#fail(error);
        return;
      }
      if (result !== undefined) {
        this.#continueAfter(result, cursor);
        return;
      }
      this.#advanceTo(cursor);
    }
  }

  #continueAfter(result: Promise<unknown>, cursor: number): void {
    this.#isHandling = true;
    const series = this.#cursorSeries;
    result.then(
      () => {
        this.#isHandling = false;
        if (series === this.#cursorSeries) this.#advanceTo(cursor);
        this.#onIdle?.();
        this.#handleFrom(this.#queue.shift());
      },
      (error) => {
        this.#isHandling = false;
        if (this.isClosing) this.#onIdle?.();
        else this.#fail(error);
      },
    );
  }

  #advanceTo(cursor: number): void {
    if (cursor <= this.cursor) return;
    this.cursor = cursor;
    this.#scheduleAck();
  }

  #scheduleAck(): void {
    if (++this.#unackedCount >= this.#options.ack_every) this.flushAck();
    else {
      if (inboxesToAck.size === 0) setTimeout(flushAllAcks, ACK_WITHIN_MS);
      inboxesToAck.add(this);
    }
  }

  #fail(error: unknown): void {
    this.#hasFailed = true;
    this.#queue.length = 0;
    this.#options.onHandlerFailed(error);
  }
}

/** Returns the cursor that is reached once the item is handled; 0 for an item without one. */
function cursorAfter(item: Item): number {
  if (item.type === 'inbox.empty') return 0;
  return item.type === 'inbox.gap' ? (item.cursor ?? item.to) : item.cursor;
}
