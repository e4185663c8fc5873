/**
 * Pulls from one device's durable consumer and hands out what has arrived, as the replay asks for it. Each instance has a
 * reply subject of its own, so nothing of an earlier replay gets into this one.
 */
import { type Msg, type NatsConnection, nanos, type Subscription } from 'nats';
import { parseAckSubject } from '../../../nats/ack-subject.ts';
import { privateInbox } from '../../../nats/connect.ts';
import { item } from '../../../nats/inbox/item.ts';

export interface ReplayedItem {
  data: Buffer;
  /** 0 for an item that is not valid. */
  cursor: number;
  seq: number;
  /** Made when the item is sent. */
  frame: Buffer | undefined;
  /** Publishing an acknowledgement here acknowledges the item and everything before it. */
  reply: string;
  /** Items after this one. */
  pending: number;
}
interface PulledItems {
  items: ReplayedItem[];
  /** After these items the pull ended before it was complete: `gone` when the durable no longer exists, else `early`. */
  ended: 'early' | 'gone' | undefined;
}

export class PullSubscription {
  readonly #nc: NatsConnection;
  readonly #pullSubject: string;
  readonly #inbox: string;
  readonly #maxBytes: number;
  readonly #subscription: Subscription;
  #items: ReplayedItem[] = [];
  #ended: PulledItems['ended'];
  #wakeReceiver: (() => void) | undefined;

  /** @param maxBytes the most that one pull may bring */
  constructor(nc: NatsConnection, pullSubject: string, maxBytes: number) {
    this.#nc = nc;
    this.#pullSubject = pullSubject;
    this.#inbox = privateInbox(nc);
    this.#maxBytes = maxBytes;
    this.#subscription = nc.subscribe(this.#inbox, {
      callback: (error, message) => void (error || this.#onMessage(message)),
    });
  }

  /** @param waitMs how long the broker may wait for the first item; with 0 it ends the pull at once when there is none */
  pull(batch: number, waitMs = 0): void {
    const terms = waitMs ? { expires: nanos(waitMs) } : { no_wait: true };
    const request = JSON.stringify({ batch, max_bytes: this.#maxBytes, ...terms });
    this.#nc.publish(this.#pullSubject, request, { reply: this.#inbox });
  }

  /**
   * Resolves with what has arrived since the last call, as soon as there is anything. The items of one read from the broker's
   * socket come together, so the promise costs once per read and not once per item.
   */
  async receive(): Promise<PulledItems> {
    if (this.#items.length === 0 && !this.#ended)
      await new Promise<void>((resolve) => {
        this.#wakeReceiver = resolve;
      });
    const pulled = { items: this.#items, ended: this.#ended };
    this.#items = [];
    this.#ended = undefined;
    return pulled;
  }

  close(): void {
    this.#subscription.unsubscribe();
    this.#wake();
  }

  #onMessage(message: Msg): void {
    const { reply, data } = message;
    if (reply) {
      const { seq, pending } = parseAckSubject(reply);
      const bytes = Buffer.from(data.buffer, data.byteOffset, data.length);
      const cursor = item.valid(bytes) ? item.base(bytes) + seq : 0;
      this.#items.push({ data: bytes, cursor, seq, frame: undefined, reply, pending });
    } else {
      const code = message.headers?.code ?? 0;
      // A heartbeat.
      if (code === 100) return;
      const description = message.headers?.description ?? '';
      // 409 also says that the next item would exceed `max_bytes`: then the durable is there, and the next pull brings it.
      const gone = code === 503 || (code === 409 && !/max_?bytes|maxbytes/i.test(description));
      this.#ended = gone ? 'gone' : (this.#ended ?? 'early');
    }
    this.#wake();
  }

  #wake(): void {
    this.#wakeReceiver?.();
    this.#wakeReceiver = undefined;
  }
}
