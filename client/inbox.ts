/**
 * Items of a device, one at a time in cursor order: handled, then acknowledged. An item that was handled before is
 * passed over. When a handler fails nothing further is handled until the server delivers again from the last ack.
 */
import type { ServerFrame } from '../shared/contract/frames/server.ts';

export type Item = Extract<ServerFrame, { type: 'inbox.empty' | 'inbox.gap' }> | (ServerFrame & { cursor: number });

interface Options {
  /** Does what the item asks for; the item counts as handled once this has returned or resolved. */
  handle(item: Item): undefined | Promise<unknown>;
  /** Tells the server; false when it could not be told. */
  ack(cursor: number): boolean;
  failed(error: unknown): void;
  /** Items after which to acknowledge at once. */
  ack_every: number;
}

/** Acks of all devices of this process leave in rounds: one timer, whatever their number and rate. */
const ACK_WITHIN_MS = 50;
const LEAVE_MS = 2_000;
const dirty = new Set<Inbox>();
function flushAll(): void {
  const round = [...dirty];
  dirty.clear();
  for (const inbox of round) inbox.flush();
}

export class Inbox {
  /** Everything up to here was handled. */
  cursor = 0;
  #acked = 0;
  #unacked = 0;
  #busy = false;
  /** Counts the lives of the inbox; what was begun in an earlier one says nothing about the cursor. */
  #life = 0;
  #failed = false;
  leaving = false;
  #idle: (() => void) | undefined;
  #queue: Item[] = [];
  #options: Options;

  constructor(options: Options) {
    this.#options = options;
  }

  /** @param cursor what the server holds for acknowledged. @param anew cursors of before mean nothing now. */
  connected(cursor: number, anew: boolean): void {
    this.#failed = false;
    this.leaving = false;
    this.#queue.length = 0;
    this.#acked = cursor;
    if (anew) this.#life++;
    if (anew || cursor > this.cursor) this.cursor = cursor;
  }

  /** The server will deliver what waits here again. */
  disconnected(): void {
    this.#queue.length = 0;
  }

  /** Handles nothing more until `connected`; waits a while for what is being handled, and acknowledges. */
  async leave(): Promise<void> {
    this.leaving = true;
    this.#queue.length = 0;
    if (this.#busy) {
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, LEAVE_MS);
        this.#idle = () => {
          clearTimeout(timer);
          resolve();
        };
      });
    }
    this.flush();
  }

  accept(item: Item): void {
    if (this.#failed || this.leaving) return;
    if (this.#busy) this.#queue.push(item);
    else this.#run(item);
  }

  flush(): void {
    this.#unacked = 0;
    if (this.cursor > this.#acked && this.#options.ack(this.cursor)) this.#acked = this.cursor;
  }

  /** Runs on through everything that needs no waiting. */
  #run(item: Item | undefined): void {
    for (let next = item; next !== undefined; next = this.#queue.shift()) {
      const at = reach(next);
      if (at !== 0 && at <= this.cursor) {
        // The server does not know yet, and heeds an ack only for what it has sent on this socket.
        this.#acked = Math.min(this.#acked, at - 1);
        this.#owe();
        continue;
      }
      let result: undefined | Promise<unknown>;
      try {
        result = this.#options.handle(next);
      } catch (error) {
        this.#fail(error);
        return;
      }
      if (result !== undefined) {
        this.#busy = true;
        const life = this.#life;
        result.then(
          () => {
            this.#busy = false;
            if (life === this.#life) this.#done(at);
            this.#idle?.();
            this.#run(this.#queue.shift());
          },
          (error) => {
            this.#busy = false;
            if (this.leaving) this.#idle?.();
            else this.#fail(error);
          },
        );
        return;
      }
      this.#done(at);
    }
  }

  #done(cursor: number): void {
    if (cursor <= this.cursor) return;
    this.cursor = cursor;
    this.#owe();
  }

  #owe(): void {
    if (++this.#unacked >= this.#options.ack_every) this.flush();
    else {
      if (dirty.size === 0) setTimeout(flushAll, ACK_WITHIN_MS);
      dirty.add(this);
    }
  }

  #fail(error: unknown): void {
    this.#failed = true;
    this.#queue.length = 0;
    this.#options.failed(error);
  }
}

/** How far handling the item brings the cursor; 0 for a mere mark. */
function reach(item: Item): number {
  if (item.type === 'inbox.empty') return 0;
  return item.type === 'inbox.gap' ? (item.cursor ?? item.to) : item.cursor;
}
