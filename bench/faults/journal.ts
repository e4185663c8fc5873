/**
 * What every client sent, was told and got, in the order in which this process saw it: the place in the journal is the
 * clock by which the checker tells before from after. One JSON object a line when it is kept on disk.
 */
import { createHash } from 'node:crypto';
import { createWriteStream, type WriteStream } from 'node:fs';

interface At {
  /** Milliseconds since the journal began. */
  at: number;
}
interface Client extends At {
  device: string;
}
/** A client began to send; the same `client_message_id` may be sent again, also by another device. */
export interface Send extends Client {
  kind: 'send';
  conversation: string;
  client_message_id: string;
  hash: string;
}
/** A client was told `queued`. */
export interface Queued extends Client {
  kind: 'queued';
  client_message_id: string;
  message_id: string;
  conversation: string;
  seq: number;
}
/** A client was told no; `closed` means that it stopped waiting. */
export interface Refused extends Client {
  kind: 'refused';
  client_message_id: string;
  code: string;
}
/** A client was told to wait: its library sends the message again, behind those that were taken meanwhile. */
export interface Delayed extends Client {
  kind: 'delayed';
  code: string;
}
/** The application of a device was handed a message. */
export interface Got extends Client {
  kind: 'got';
  message_id: string;
  conversation: string;
  seq: number;
  sender: string;
  client_message_id: string;
  hash: string;
  /** It came from history after a gap was told. */
  resync: boolean;
}
/** The device was told that items were lost. */
export interface Gap extends Client {
  kind: 'gap';
  from: number;
  to: number;
  reason: string;
}
/** The device's socket opened or was lost. */
export interface Link extends Client {
  kind: 'open' | 'close';
  detail: string;
}
/** A frame whose cursor is not higher than the one before it on the same socket. */
export interface Disorder extends Client {
  kind: 'disorder';
  cursor: number;
  after: number;
}
/** Something that the harness did. */
export interface Mark extends At {
  kind: 'mark';
  what: 'load' | 'fault' | 'healed' | 'end';
  detail: string;
}
export type Event = Send | Queued | Refused | Delayed | Got | Gap | Link | Disorder | Mark;
type Untimed<T> = T extends At ? Omit<T, 'at'> : never;

export class Journal {
  readonly events: Event[] = [];
  /** Answers, deliveries and frames so far: it stands still once nothing moves any more. */
  moves = 0;
  readonly #begun = performance.now();
  readonly #file: WriteStream | undefined;

  constructor(path?: string) {
    this.#file = path === undefined ? undefined : createWriteStream(path);
  }

  /** Milliseconds since the journal began. */
  get now(): number {
    return performance.now() - this.#begun;
  }

  add(event: Untimed<Event>): void {
    const whole = { ...event, at: Math.round(this.now * 10) / 10 } as Event;
    this.events.push(whole);
    if (whole.kind === 'queued' || whole.kind === 'refused' || whole.kind === 'got') this.moves++;
    this.#file?.write(`${JSON.stringify(whole)}\n`);
  }

  mark(what: Mark['what'], detail = ''): void {
    this.add({ kind: 'mark', what, detail });
  }

  async close(): Promise<void> {
    await new Promise<void>((resolve) => (this.#file ? this.#file.end(resolve) : resolve()));
  }
}

export const hashOf = (payload: string): string =>
  createHash('sha256').update(payload).digest('base64url').slice(0, 22);
