/**
 * Holds messages until the server answers them. Messages are pipelined in order. After a reconnect every unanswered message
 * is sent again, in order and under the same `client_message_id`, by which the server recognises the repetition.
 */
import type { ErrorFrame, SendAck } from '../shared/contract/frames/server.ts';
import { SealwireError } from './errors.ts';

/** The server's answer to a message that it has stored durably. */
export interface Sent {
  message_id: string;
  conversation_id: string;
  seq: number;
}

/** The part of a message that a Store keeps: its key and its frame as text. */
export interface StoredSend {
  key: string;
  frame: string;
}

/** `resealing`: the message is being encrypted again for other devices. `ended`: it was answered or given up. */
type EntryState = 'waiting' | 'in_flight' | 'resealing' | 'ended';

export interface OutboxEntry extends StoredSend {
  state: EntryState;
  /** Ticks of the connection since the message was sent. */
  ticks: number;
  resolve(sent: Sent): void;
  reject(error: SealwireError): void;
  /** Makes the frame again after the server named other devices. Only messages that this Device has sealed have it. */
  reseal?: ((error: SealwireError) => Promise<string>) | undefined;
}

export interface OutboxOptions {
  outbox_max: number;
  in_flight: number;
  /** Sends a frame. Returns false when there is no open socket. */
  transmit(frame: string): boolean;
}

/** Pause after `rate_limited` or `unavailable` without `retry_after_ms`. */
const DEFAULT_PAUSE_MS = 1_000;
/** An answer is overdue after this many ticks of a connection that is otherwise alive. */
const OVERDUE_TICKS = 2;
/** Sent entries at the head of the queue after which the array is shortened. */
const COMPACT_AFTER = 1_024;

export class Outbox {
  /** Every unanswered message, in the order of the calls. */
  #entries = new Map<string, OutboxEntry>();
  /** Entries that have to be sent, in order. Those before `#head` were sent already. */
  #queue: OutboxEntry[] = [];
  #head = 0;
  #inFlight = 0;
  #pauseTimer: ReturnType<typeof setTimeout> | undefined;
  #options: OutboxOptions;

  constructor(options: OutboxOptions) {
    this.#options = options;
  }

  get size(): number {
    return this.#entries.size;
  }

  /** Adds a message and sends it as soon as possible. @throws SealwireError `outbox_full` */
  add(entry: OutboxEntry): void {
    this.assertNotFull();
    this.#entries.set(entry.key, entry);
    this.#queue.push(entry);
    this.sendQueued();
  }

  /** @throws SealwireError `outbox_full` */
  assertNotFull(): void {
    if (this.#entries.size < this.#options.outbox_max) return;
    throw new SealwireError('outbox_full', `${this.#entries.size} messages are waiting to be sent; try again later`);
  }

  /** Sends queued messages until the socket is closed or `in_flight` messages are unanswered. */
  sendQueued(): void {
    if (this.#pauseTimer !== undefined) return;
    while (this.#head < this.#queue.length && this.#inFlight < this.#options.in_flight) {
      const entry = this.#queue[this.#head]!;
      if (entry.state === 'waiting') {
        if (!this.#options.transmit(entry.frame)) return;
        entry.state = 'in_flight';
        entry.ticks = 0;
        this.#inFlight++;
      }
      this.#head++;
    }
    if (this.#head === this.#queue.length) {
      this.#queue.length = 0;
      this.#head = 0;
    } else if (this.#head > COMPACT_AFTER) {
      this.#queue.splice(0, this.#head);
      this.#head = 0;
    }
  }

  /** Resolves the message that the server has acknowledged. @returns its entry, undefined for an unknown id */
  handleAck(ack: SendAck): OutboxEntry | undefined {
    const entry = this.#remove(ack.id);
    entry?.resolve({ message_id: ack.message_id, conversation_id: ack.conversation_id, seq: ack.seq });
    return entry;
  }

  /**
   * Handles an error that the server sent for a message. `rate_limited` and `unavailable` pause the outbox; for
   * `device_mismatch` and `device_stale` the message is sealed again, once. Any other error rejects the message.
   * @returns the entry if this error has ended it; undefined if it will be sent again, or the id is unknown
   */
  handleError(frame: ErrorFrame): OutboxEntry | undefined {
    const entry = frame.id === undefined ? undefined : this.#entries.get(frame.id);
    if (entry === undefined) return undefined;
    const error = SealwireError.from(frame);
    if (error.code === 'rate_limited' || error.code === 'unavailable') {
      this.#setState(entry, 'waiting');
      this.#pause(error.retry_after_ms ?? DEFAULT_PAUSE_MS);
      return undefined;
    }
    if (entry.reseal && (error.code === 'device_mismatch' || error.code === 'device_stale')) {
      this.#reseal(entry, entry.reseal, error);
      return undefined;
    }
    this.#remove(entry.key);
    entry.reject(error);
    return entry;
  }

  /** Queues every unanswered message again, because the socket that carried it is gone. */
  handleDisconnect(): void {
    for (const entry of this.#entries.values()) if (entry.state !== 'resealing') entry.state = 'waiting';
    this.#inFlight = 0;
    this.#queue = [...this.#entries.values()];
    this.#head = 0;
  }

  /** Sends everything again if an answer is overdue on a live connection, e.g. because a worker died with it. */
  tick(): void {
    let isOverdue = false;
    for (const entry of this.#entries.values()) {
      if (entry.state === 'in_flight' && ++entry.ticks > OVERDUE_TICKS) isOverdue = true;
    }
    if (!isOverdue) return;
    this.handleDisconnect();
    this.sendQueued();
  }

  /** Rejects every unanswered message. A Store keeps its copies of them. */
  rejectAll(error: SealwireError): void {
    clearTimeout(this.#pauseTimer);
    this.#pauseTimer = undefined;
    const all = [...this.#entries.values()];
    this.#entries.clear();
    this.handleDisconnect();
    for (const entry of all) {
      entry.state = 'ended';
      entry.reject(error);
    }
  }

  #reseal(entry: OutboxEntry, reseal: NonNullable<OutboxEntry['reseal']>, error: SealwireError): void {
    entry.reseal = undefined;
    this.#setState(entry, 'resealing');
    reseal(error).then(
      (frame) => {
        entry.frame = frame;
        if (entry.state === 'resealing') entry.state = 'waiting';
        this.#sendWaiting();
      },
      (cause) => this.#remove(entry.key)?.reject(cause),
    );
  }

  #remove(key: string | undefined): OutboxEntry | undefined {
    const entry = key === undefined ? undefined : this.#entries.get(key);
    if (entry === undefined) return undefined;
    this.#entries.delete(entry.key);
    this.#setState(entry, 'ended');
    this.sendQueued();
    return entry;
  }

  #setState(entry: OutboxEntry, state: EntryState): void {
    if (entry.state === 'in_flight') this.#inFlight--;
    entry.state = state;
  }

  #pause(ms: number): void {
    this.#pauseTimer ??= setTimeout(() => {
      this.#pauseTimer = undefined;
      this.#sendWaiting();
    }, ms);
  }

  #sendWaiting(): void {
    this.#queue = [...this.#entries.values()].filter((entry) => entry.state === 'waiting');
    this.#head = 0;
    this.sendQueued();
  }
}
