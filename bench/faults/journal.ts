/**
 * Records what every client sent, was told and received, in the order in which this process saw it: by the position in the
 * journal the checker tells before from after. On disk it is one JSON object per line.
 */
import { createHash } from 'node:crypto';
import { createWriteStream, type WriteStream } from 'node:fs';

interface Timed {
  /** Milliseconds since the journal began. */
  at: number;
}
interface DeviceEvent extends Timed {
  device: string;
}
/** A client started to send. The same `client_message_id` may be sent again, also by another device. */
export interface Send extends DeviceEvent {
  kind: 'send';
  conversation: string;
  client_message_id: string;
  hash: string;
}
/** A client was told that its message is queued. */
export interface Queued extends DeviceEvent {
  kind: 'queued';
  client_message_id: string;
  message_id: string;
  conversation: string;
  seq: number;
}
/** A message was refused. The code `closed` means that the client stopped waiting. */
export interface Refused extends DeviceEvent {
  kind: 'refused';
  client_message_id: string;
  code: string;
}
/** A client was told to wait. Its library sends the message again, behind those that were accepted meanwhile. */
export interface Delayed extends DeviceEvent {
  kind: 'delayed';
  code: string;
}
/** A message was delivered to the application of a device. */
export interface Delivered extends DeviceEvent {
  kind: 'got';
  message_id: string;
  conversation: string;
  seq: number;
  sender: string;
  client_message_id: string;
  hash: string;
  /** The message came from history, after a gap. */
  resync: boolean;
}
/** A device was told that items were lost. */
export interface Gap extends DeviceEvent {
  kind: 'gap';
  from: number;
  to: number;
  reason: string;
}
/** The socket of a device opened or was lost. */
export interface SocketEvent extends DeviceEvent {
  kind: 'open' | 'close';
  detail: string;
}
/** A frame came whose cursor is not higher than that of the frame before it on the same socket. */
export interface Disorder extends DeviceEvent {
  kind: 'disorder';
  cursor: number;
  after: number;
}
/** The harness did something. */
export interface Mark extends Timed {
  kind: 'mark';
  what: 'load' | 'fault' | 'healed' | 'end';
  detail: string;
}
export type Event = Send | Queued | Refused | Delayed | Delivered | Gap | SocketEvent | Disorder | Mark;
type Untimed<T> = T extends Timed ? Omit<T, 'at'> : never;

export class Journal {
  readonly events: Event[] = [];
  /** Answers, deliveries and frames so far. It stops growing when the system is quiet. */
  progress = 0;
  readonly #startedAt = performance.now();
  readonly #file: WriteStream | undefined;

  /** @param path a file for the journal; without it, it is only kept in memory */
  constructor(path?: string) {
    this.#file = path === undefined ? undefined : createWriteStream(path);
  }

  /** Milliseconds since the journal began. */
  get nowMs(): number {
    return performance.now() - this.#startedAt;
  }

  add(event: Untimed<Event>): void {
    const timed = { ...event, at: Math.round(this.nowMs * 10) / 10 } as Event;
    this.events.push(timed);
    if (timed.kind === 'queued' || timed.kind === 'refused' || timed.kind === 'got') this.progress++;
    this.#file?.write(`${JSON.stringify(timed)}\n`);
  }

  /** Records what the harness did. */
  mark(what: Mark['what'], detail = ''): void {
    this.add({ kind: 'mark', what, detail });
  }

  async close(): Promise<void> {
    await new Promise<void>((resolve) => (this.#file ? this.#file.end(resolve) : resolve()));
  }
}

/** Returns a hash that stands for a payload in the journal. */
export const hashOf = (payload: string): string =>
  createHash('sha256').update(payload).digest('base64url').slice(0, 22);
