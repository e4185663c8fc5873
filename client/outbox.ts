/**
 * Sends until they are answered. Pipelined in order; after a reconnect everything unanswered goes again, in order, under
 * the same `client_message_id`, which makes it harmless.
 */
import type { ErrorFrame, SendAck } from '../shared/contract/frames/server.ts';
import { SealwireError } from './errors.ts';
import type { SendOptions } from './options.ts';

export interface Sent {
  message_id: string;
  conversation_id: string;
  seq: number;
}

/** What a Store keeps of a send: its key and the frame as it goes over the wire. */
export interface StoredSend {
  key: string;
  frame: string;
}

export interface Entry extends StoredSend {
  /** Ticks of the connection since it went out; or WAITING, HELD (being sealed anew), ENDED. */
  age: number;
  resolve(sent: Sent): void;
  reject(error: SealwireError): void;
  /** Makes the frame again after the server named other devices; only for what this Device sealed itself. */
  reseal?: ((error: SealwireError) => Promise<string>) | undefined;
}

export const WAITING = -1;
const HELD = -2;
const ENDED = -3;

export function sendFrame(key: string, client_message_id: string, body: SendOptions): string {
  return JSON.stringify({ type: 'message.send', id: key, client_message_id, ...body });
}

interface Options {
  outbox_max: number;
  in_flight: number;
  /** False when there is no open socket. */
  transmit(frame: string): boolean;
}

/** Wait when the server asks for patience without saying how long, milliseconds. */
const PATIENCE_MS = 1_000;
/** An answer is overdue after so many ticks of a connection that is otherwise alive. */
const OVERDUE_TICKS = 2;

export class Outbox {
  #entries = new Map<string, Entry>();
  /** Entries not on their way, in order, from `#head`. */
  #waiting: Entry[] = [];
  #head = 0;
  #flying = 0;
  #pause: ReturnType<typeof setTimeout> | undefined;
  #options: Options;

  constructor(options: Options) {
    this.#options = options;
  }

  get size(): number {
    return this.#entries.size;
  }

  /** @throws SealwireError `outbox_full` */
  add(entry: Entry): void {
    this.room();
    this.#entries.set(entry.key, entry);
    this.#waiting.push(entry);
    this.pump();
  }

  room(): void {
    if (this.#entries.size < this.#options.outbox_max) return;
    throw new SealwireError('outbox_full', `${this.#entries.size} messages wait to be sent already`);
  }

  pump(): void {
    if (this.#pause !== undefined) return;
    while (this.#head < this.#waiting.length && this.#flying < this.#options.in_flight) {
      const entry = this.#waiting[this.#head]!;
      if (entry.age === WAITING) {
        if (!this.#options.transmit(entry.frame)) return;
        entry.age = 0;
        this.#flying++;
      }
      this.#head++;
    }
    if (this.#head === this.#waiting.length) {
      this.#waiting.length = 0;
      this.#head = 0;
    } else if (this.#head > 1_024) {
      this.#waiting.splice(0, this.#head);
      this.#head = 0;
    }
  }

  acknowledged(ack: SendAck): Entry | undefined {
    const entry = this.#take(ack.id);
    entry?.resolve({ message_id: ack.message_id, conversation_id: ack.conversation_id, seq: ack.seq });
    return entry;
  }

  /** @returns the entry when this error ended it; it stays here when patience or another seal may help. */
  refused(frame: ErrorFrame): Entry | undefined {
    const entry = frame.id === undefined ? undefined : this.#entries.get(frame.id);
    if (entry === undefined) return undefined;
    const error = SealwireError.from(frame);
    if (error.code === 'rate_limited' || error.code === 'unavailable') {
      this.#land(entry, WAITING);
      this.#rest(error.retry_after_ms ?? PATIENCE_MS);
      return undefined;
    }
    const { reseal } = entry;
    if (reseal && (error.code === 'device_mismatch' || error.code === 'device_stale')) {
      entry.reseal = undefined;
      this.#land(entry, HELD);
      reseal(error).then(
        (frame) => {
          entry.frame = frame;
          if (entry.age === HELD) entry.age = WAITING;
          this.#again();
        },
        (cause) => this.#take(entry.key)?.reject(cause),
      );
      return undefined;
    }
    this.#take(entry.key);
    entry.reject(error);
    return entry;
  }

  disconnected(): void {
    for (const entry of this.#entries.values()) if (entry.age !== HELD) entry.age = WAITING;
    this.#flying = 0;
    this.#waiting = [...this.#entries.values()];
    this.#head = 0;
  }

  /** An answer that got lost on a living connection (a worker that died with it) is asked for again. */
  tick(): void {
    let overdue = false;
    for (const entry of this.#entries.values()) {
      if (entry.age >= 0 && ++entry.age > OVERDUE_TICKS) overdue = true;
    }
    if (!overdue) return;
    this.disconnected();
    this.pump();
  }

  /** Ends every send that waits; what a Store holds of them stays there. */
  fail(error: SealwireError): void {
    clearTimeout(this.#pause);
    this.#pause = undefined;
    const all = [...this.#entries.values()];
    this.#entries.clear();
    this.disconnected();
    for (const entry of all) {
      entry.age = ENDED;
      entry.reject(error);
    }
  }

  #take(key: string | undefined): Entry | undefined {
    const entry = key === undefined ? undefined : this.#entries.get(key);
    if (entry === undefined) return undefined;
    this.#entries.delete(entry.key);
    this.#land(entry, ENDED);
    this.pump();
    return entry;
  }

  #land(entry: Entry, as: number): void {
    if (entry.age >= 0) this.#flying--;
    entry.age = as;
  }

  #rest(ms: number): void {
    this.#pause ??= setTimeout(() => {
      this.#pause = undefined;
      this.#again();
    }, ms);
  }

  #again(): void {
    this.#waiting = [...this.#entries.values()].filter((entry) => entry.age === WAITING);
    this.#head = 0;
    this.pump();
  }
}
