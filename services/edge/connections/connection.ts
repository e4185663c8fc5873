/**
 * One socket: what was asked over it, what is to be said. Knows no transport but the few calls of `Socket`. What is said
 * within one event-loop turn leaves together.
 */

import { uuidBytes } from '../../../nats/inbox/item.ts';
import { CLOSE } from '../../../shared/contract/protocol.ts';
import { DeviceInbox } from '../delivery/device-inbox.ts';
import type { Edge } from '../edge.ts';
import { pullBytes } from '../offline/device-consumers.ts';
import type { Identity } from './admission.ts';

export interface Socket {
  /** 1 sent, 0 sent and waiting for the peer to read, 2 dropped. */
  send(message: string | Uint8Array, isBinary?: boolean): number;
  end(code: number, reason: string): void;
  close(): void;
  ping(): number;
  cork(write: () => void): unknown;
  getBufferedAmount(): number;
}
export type Frame = string | Uint8Array;

let unsaid: Connection[] = [];
let corked: Connection;
const sendCorked = (): void => corked.sendAll();
function flushAll(): void {
  const round = unsaid;
  unsaid = [];
  for (const session of round) session.flush();
}

/** A peer that lets so many pulls pile up, by asking without reading, is cut off at once. */
const HOPELESS = 8;

export class Connection {
  readonly edge: Edge;
  readonly connection_id: string;
  readonly user_id: string;
  readonly device_id: string;
  readonly session_id: string;
  readonly ip: string;
  /** `device_id` as bytes. */
  readonly device: Buffer;
  readonly inbox: DeviceInbox;
  readonly opened = Date.now();
  open = true;
  /** When it began to be full, or to close; 0 when it is neither. */
  fullSince = 0;
  closingSince = 0;
  strikes = 0;
  /** Commands taken and frames said in all. */
  taken = 0;
  said = 0;
  readonly #socket: Socket;
  #out: Frame[] = [];
  /** Length of what is in `#out`; a burst within one turn must not outgrow the limit either. */
  #outBytes = 0;
  #refused = 0;
  #turn: Promise<void> | undefined;
  #windowEnd = 0;
  #refusedBytes = 0;
  #idleFrames = 0;
  /** Who waits until there is room. */
  #waiting: (() => void)[] = [];

  constructor(
    edge: Edge,
    socket: Socket,
    connection_id: string,
    { user_id, device_id, session_id }: Identity,
    ip: string,
  ) {
    this.edge = edge;
    this.#socket = socket;
    this.connection_id = connection_id;
    this.user_id = user_id;
    this.device_id = device_id;
    this.device = uuidBytes(device_id);
    this.session_id = session_id;
    this.ip = ip;
    this.inbox = new DeviceInbox(this);
  }

  /** Something of this socket is being checked. */
  get busy(): boolean {
    return this.#turn !== undefined;
  }

  /** After everything that was given before. */
  inTurn(task: () => Promise<void>): Promise<void> {
    const mine = (this.#turn ?? Promise.resolve()).then(task);
    const turn = mine
      .catch(() => {})
      .finally(() => {
        if (this.#turn === turn) this.#turn = undefined;
      });
    this.#turn = turn;
    return mine;
  }

  get full(): boolean {
    return this.fullSince !== 0 || this.#outBytes > this.edge.config.WS_MAX_BUFFERED_BYTES;
  }

  /** Counts a frame that had to be refused. @returns the bytes of such frames in this window */
  refused(bytes: number): number {
    this.#look();
    this.#refusedBytes += bytes;
    return this.#refusedBytes;
  }

  /** Counts a frame that changed nothing. @returns how many there were in this window */
  idle(): number {
    this.#look();
    return ++this.#idleFrames;
  }

  #look(): void {
    const now = Date.now();
    if (now < this.#windowEnd) return;
    this.#windowEnd = now + this.edge.config.WS_RATE_LIMIT_WINDOW_SEC * 1_000;
    this.#refusedBytes = this.#idleFrames = 0;
  }

  /** Resolves when the socket is not full, or is gone. */
  room(): Promise<void> {
    if (!this.open || !this.full) return Promise.resolve();
    return new Promise((resolve) => void this.#waiting.push(resolve));
  }

  say(frame: Frame): void {
    if (!this.open || this.closingSince) return;
    this.#outBytes += frame.length;
    if (this.#out.push(frame) > 1) return;
    if (unsaid.push(this) === 1) setImmediate(flushAll);
  }

  flush(): void {
    if (!this.open || this.#out.length === 0) return;
    corked = this;
    this.#socket.cork(sendCorked);
    const { config, tally } = this.edge;
    this.said += this.#out.length;
    tally.out += this.#out.length;
    this.#out = [];
    this.#outBytes = 0;
    if (this.#refused) {
      // Said, and yet it did not leave: what the device has is unknown, so it must begin again from its cursor.
      this.terminate();
      return;
    }
    const buffered = this.#socket.getBufferedAmount();
    if (buffered <= config.WS_MAX_BUFFERED_BYTES) {
      if (!this.full && this.inbox.phase !== 'live') this.inbox.resume();
      this.#makeRoom();
      return;
    }
    if (!this.full) {
      this.fullSince = Date.now();
      this.edge.restless.add(this);
    }
    if (buffered > HOPELESS * pullBytes(config)) this.end(CLOSE.slow_or_idle, 'reads too slowly');
  }

  /** Inside a cork. */
  sendAll(): void {
    for (const frame of this.#out) if (this.#socket.send(frame, false) === 2) this.#refused++;
  }

  /** The peer has read some. */
  drained(): void {
    if (this.fullSince === 0 || this.#socket.getBufferedAmount() > this.edge.config.WS_MAX_BUFFERED_BYTES / 2) return;
    this.fullSince = 0;
    this.inbox.resume();
    this.#makeRoom();
  }

  #makeRoom(): void {
    if (!this.open || !this.full) for (const resolve of this.#waiting.splice(0)) resolve();
  }

  ping(): void {
    if (this.open && !this.closingSince && !this.full) this.#socket.ping();
  }

  /** Says what is left to say, then closes with a reason. */
  end(code: number, reason: string): void {
    if (!this.open || this.closingSince) return;
    if (this.#out.length && !this.full) this.flush();
    if (!this.open || this.closingSince) return;
    this.closingSince = Date.now();
    this.edge.restless.add(this);
    this.inbox.close();
    this.#socket.end(code, reason);
  }

  terminate(): void {
    if (!this.open) return;
    this.inbox.close();
    this.#socket.close();
  }

  /** The socket is gone; nothing may touch it any more. */
  closed(): void {
    this.open = false;
    this.inbox.close();
    this.#out = [];
    this.#outBytes = 0;
    this.#makeRoom();
    this.edge.restless.delete(this);
  }
}
