/**
 * Leads a socket from its upgrade to a connection, and passes its events on. Identity and cursor are looked up while the socket
 * is open already. Until then nothing is sent to it, and the frames that it sends wait, in order and within bounds.
 */
import type { Logger } from 'pino';
import type { Identity } from '../../../shared/auth/tokens.ts';
import type { Config } from '../../../shared/config/index.ts';
import { ApiError } from '../../../shared/contract/errors.ts';
import { CLOSE } from '../../../shared/contract/protocol.ts';
import type { Metrics } from '../../../shared/metrics.ts';
import type { CommandDispatcher } from '../commands/command-dispatcher.ts';
import type { Admission, Credentials } from './admission.ts';
import type { Socket } from './connection.ts';
import type { ConnectionCounts } from './connection-counts.ts';
import type { ConnectedDevice, Connections } from './connections.ts';

/** A text frame; undefined for a binary one. */
type IncomingFrame = string | undefined;

export interface OpeningOptions {
  config: Pick<Config, 'WS_MAX_BUFFERED_BYTES' | 'WS_MAX_EARLY_FRAMES'>;
  log: Logger;
  metrics: Metrics;
  admission: Admission;
  connectionCounts: ConnectionCounts;
  connections: Connections;
  dispatcher: CommandDispatcher;
}

export class ConnectionOpening {
  readonly #options: OpeningOptions;
  readonly #socket: Socket;
  readonly #ip: string;
  #device: ConnectedDevice | undefined;
  /** The identity that the socket is counted with. */
  #identity: Identity | undefined;
  #earlyFrames: IncomingFrame[] = [];
  #earlyBytes = 0;
  #isOpen = true;

  constructor(options: OpeningOptions, socket: Socket, ip: string) {
    this.#options = options;
    this.#socket = socket;
    this.#ip = ip;
  }

  /** Resolves when the socket has its connection, or was closed with the reason why it gets none. */
  async open(credentials: Credentials): Promise<void> {
    const { admission, connectionCounts, connections, log } = this.#options;
    try {
      if ('identity' in credentials) {
        this.#identity = credentials.identity;
      } else {
        const identity = await admission.identify(credentials);
        if (!this.#isOpen) return;
        connectionCounts.addUser(identity);
        this.#identity = identity;
      }
      const acknowledged = await admission.loadDevice(this.#identity);
      if (!this.#isOpen) return;
      if (connections.isDraining) {
        this.#refuse(CLOSE.restarting, 'restarting');
        return;
      }
      const device = connections.open(this.#socket, this.#identity, acknowledged);
      this.#device = device;
      for (const frame of this.#earlyFrames.splice(0)) this.#dispatch(device, frame);
    } catch (error) {
      if (!(error instanceof ApiError)) log.error({ unit: 'upgrade', err: error });
      const { code, message } = error instanceof ApiError ? error : { code: 'internal', message: 'internal error' };
      this.#refuse(CLOSE_CODES[code] ?? CLOSE.try_again, message);
    }
  }

  receive(frame: IncomingFrame): void {
    if (this.#device) {
      this.#dispatch(this.#device, frame);
      return;
    }
    const { WS_MAX_EARLY_FRAMES, WS_MAX_BUFFERED_BYTES } = this.#options.config;
    this.#earlyBytes += frame?.length ?? 0;
    if (this.#earlyFrames.push(frame) > WS_MAX_EARLY_FRAMES || this.#earlyBytes > WS_MAX_BUFFERED_BYTES)
      this.#refuse(CLOSE.too_many_commands, 'too many commands before the welcome');
  }

  /** The peer has read some of what was sent. */
  onDrained(): void {
    this.#device?.connection.checkRoom();
  }

  onSocketClosed(code: number): void {
    const { connectionCounts, connections } = this.#options;
    connectionCounts.remove(this.#ip, this.#identity);
    this.#end();
    if (this.#device) connections.onSocketClosed(this.#device, code);
  }

  #refuse(code: number, reason: string): void {
    if (!this.#isOpen) return;
    this.#end();
    this.#options.metrics.records.inc({ stage: 'edge', outcome: 'refused' });
    this.#socket.end(code, reason);
  }

  /** Ends the opening; nothing may touch the socket from here any more. */
  #end(): void {
    this.#isOpen = false;
    this.#earlyFrames = [];
  }

  #dispatch({ connection, client }: ConnectedDevice, frame: IncomingFrame): void {
    if (!connection.isOpen) return;
    const { dispatcher } = this.#options;
    if (frame === undefined) dispatcher.rejectMalformed(client, 'frames of this subprotocol are text');
    else dispatcher.dispatch(client, frame);
  }
}

/** Close codes of sockets that turn out not to be admitted, by error code; others get `try_again`. */
const CLOSE_CODES: Partial<Record<string, number>> = {
  unauthenticated: CLOSE.unauthenticated,
  token_expired: CLOSE.unauthenticated,
  forbidden: CLOSE.forbidden,
  rate_limited: CLOSE.too_many_commands,
};
