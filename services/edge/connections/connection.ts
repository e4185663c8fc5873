/**
 * Writes frames to the socket of one device: buffers those of an event-loop turn and sends them together, watches how much the
 * device leaves unread, and closes. Knows no transport but the few calls of `Socket`.
 */
import type { Identity } from '../../../shared/auth/tokens.ts';
import type { Config } from '../../../shared/config/index.ts';
import { CLOSE } from '../../../shared/contract/protocol.ts';
import type { CommandOutput } from '../commands/command-client.ts';
import type { DeviceOutput, Frame, OutputListener } from '../delivery/device-output.ts';
import { maxPullBytes } from '../offline/device-consumers.ts';

export interface Socket {
  /** @returns 1 sent, 0 sent and waiting for the peer to read, 2 dropped */
  send(message: string | Uint8Array, isBinary?: boolean): number;
  end(code: number, reason: string): void;
  close(): void;
  ping(): number;
  cork(write: () => void): unknown;
  getBufferedAmount(): number;
}
/** The options that all connections of one edge share. */
export interface ConnectionOptions {
  config: Pick<Config, 'WS_MAX_BUFFERED_BYTES' | 'WS_MAX_COMMAND_BYTES'>;
  /** Since housekeeping last added them to the metrics. */
  counts: { out: number };
  /** Connections that housekeeping must look at, because they are full or closing. */
  needsAttention: Set<Connection>;
}

let unflushed: Connection[] = [];
let corked: Connection;
/** One function for all connections, so that a flush allocates no closure. */
const writeCorked = (): void => corked.writeFrames();
function flushAll(): void {
  const connections = unflushed;
  unflushed = [];
  for (const connection of connections) connection.flush();
}

/** A peer that lets so many full pulls pile up, by asking without reading, is closed at once. */
const MAX_UNREAD_PULLS = 8;

export class Connection implements DeviceOutput, CommandOutput {
  readonly connection_id: string;
  readonly user_id: string;
  readonly device_id: string;
  readonly session_id: string;
  readonly openedAt = Date.now();
  /** Frames sent in all. */
  sent = 0;
  /** Since when it has been full, or closing; 0 when it is neither. */
  fullSince = 0;
  closingSince = 0;
  listener: OutputListener | undefined;
  readonly #options: ConnectionOptions;
  readonly #socket: Socket;
  #isSocketOpen = true;
  #frames: Frame[] = [];
  /** Length of the frames; a burst within one turn must not outgrow the limit either. */
  #frameBytes = 0;
  #dropped = 0;
  #waitingForRoom: (() => void)[] = [];

  constructor(
    options: ConnectionOptions,
    socket: Socket,
    connection_id: string,
    { user_id, device_id, session_id }: Identity,
  ) {
    this.#options = options;
    this.#socket = socket;
    this.connection_id = connection_id;
    this.user_id = user_id;
    this.device_id = device_id;
    this.session_id = session_id;
  }

  get isOpen(): boolean {
    return this.#isSocketOpen && this.closingSince === 0;
  }

  get isFull(): boolean {
    return this.fullSince !== 0 || this.#frameBytes > this.#options.config.WS_MAX_BUFFERED_BYTES;
  }

  waitForRoom(): Promise<void> {
    if (!this.#isSocketOpen || !this.isFull) return Promise.resolve();
    return new Promise((resolve) => void this.#waitingForRoom.push(resolve));
  }

  send(frame: Frame): void {
    if (!this.#isSocketOpen || this.closingSince) return;
    this.#frameBytes += frame.length;
    if (this.#frames.push(frame) > 1) return;
    if (unflushed.push(this) === 1) setImmediate(flushAll);
  }

  flush(): void {
    if (!this.#isSocketOpen || this.#frames.length === 0) return;
    corked = this;
    this.#socket.cork(writeCorked);
    const { config, counts, needsAttention } = this.#options;
    this.sent += this.#frames.length;
    counts.out += this.#frames.length;
    this.#frames = [];
    this.#frameBytes = 0;
    if (this.#dropped) {
      // The inbox counts these frames as sent. What the device has is unknown, so it must begin again from its cursor.
      this.terminate();
      return;
    }
    const buffered = this.#socket.getBufferedAmount();
    if (buffered <= config.WS_MAX_BUFFERED_BYTES) {
      if (!this.isFull) this.listener?.onRoom();
      this.#releaseWaiting();
      return;
    }
    if (!this.isFull) {
      this.fullSince = Date.now();
      needsAttention.add(this);
    }
    if (buffered > MAX_UNREAD_PULLS * maxPullBytes(config)) this.close(CLOSE.slow_or_idle, 'reads too slowly');
  }

  /** Writes the frames to the socket; called inside a cork. */
  writeFrames(): void {
    for (const frame of this.#frames) if (this.#socket.send(frame, false) === 2) this.#dropped++;
  }

  /** Ends being full, once the peer has read enough. Called by the socket, and by housekeeping in case that was missed. */
  checkRoom(): void {
    const { config, needsAttention } = this.#options;
    if (this.fullSince === 0 || this.#socket.getBufferedAmount() > config.WS_MAX_BUFFERED_BYTES / 2) return;
    this.fullSince = 0;
    if (!this.closingSince) needsAttention.delete(this);
    this.listener?.onRoom();
    this.#releaseWaiting();
  }

  ping(): void {
    if (this.isOpen && !this.isFull) this.#socket.ping();
  }

  close(code: number, reason: string): void {
    if (!this.isOpen) return;
    if (this.#frames.length && !this.isFull) this.flush();
    // The flush may have closed it.
    if (!this.isOpen) return;
    this.closingSince = Date.now();
    this.#options.needsAttention.add(this);
    this.listener?.onClosed();
    this.#socket.end(code, reason);
  }

  /** Closes the socket without a word. */
  terminate(): void {
    if (!this.#isSocketOpen) return;
    this.listener?.onClosed();
    this.#socket.close();
  }

  /** The socket is closed; nothing may touch it any more. */
  onSocketClosed(): void {
    this.#isSocketOpen = false;
    this.listener?.onClosed();
    this.#frames = [];
    this.#frameBytes = 0;
    this.#releaseWaiting();
    this.#options.needsAttention.delete(this);
  }

  #releaseWaiting(): void {
    if (!this.#isSocketOpen || !this.isFull) for (const resolve of this.#waitingForRoom.splice(0)) resolve();
  }
}
