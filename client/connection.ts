/**
 * Keeps a socket to the edge open and replaces it by a new one when it is lost:
 * `idle → connecting → open → waiting → connecting …`, and `stopped` at the end. It does not interpret the frames.
 */
import type { ServerFrame, Welcome } from '../shared/contract/frames/server.ts';
import { CLOSE } from '../shared/contract/protocol.ts';
import { Backoff } from './backoff.ts';
import { isAuthError, SealwireError } from './errors.ts';
import { Heartbeat } from './heartbeat.ts';
import type { Session } from './session.ts';
import type { DeviceSettings } from './settings.ts';
import { SocketCredentials } from './socket-credentials.ts';
import type { Transport, TransportSocket } from './transports/types.ts';

const PING = '{"type":"ping"}';
/** `close` waits this long for the closing handshake. */
const CLOSE_TIMEOUT_MS = 2_000;
/** The connection was lost without a close frame (RFC 6455). */
const ABNORMAL = 1006;

export interface ConnectionEvents {
  onWelcome(welcome: Welcome): void;
  onFrame(frame: ServerFrame): void;
  /** Called at each heartbeat of a live connection. */
  onTick(): void;
  /** The socket is gone; the next one follows after `retryInMs`. */
  onLost(code: number, reason: string, retryInMs: number): void;
  /** No further socket follows. */
  onEnded(error: SealwireError): void;
}

export class Connection {
  state: 'idle' | 'connecting' | 'open' | 'waiting' | 'stopped' = 'idle';
  #url: string;
  #session: Session;
  #transport: Transport;
  #settings: DeviceSettings;
  #events: ConnectionEvents;
  #socket: TransportSocket | undefined;
  /** Number of the current socket. Events of an earlier socket are ignored. */
  #socketNumber = 0;
  #backoff: Backoff;
  #heartbeat: Heartbeat;
  #credentials: SocketCredentials;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #onSocketClosed: (() => void) | undefined;

  constructor(
    edge: string,
    session: Session,
    transport: Transport,
    settings: DeviceSettings,
    events: ConnectionEvents,
  ) {
    const url = new URL(edge);
    if (url.pathname === '/') url.pathname = '/v1/ws';
    this.#url = url.href;
    this.#session = session;
    this.#transport = transport;
    this.#settings = settings;
    this.#events = events;
    this.#credentials = new SocketCredentials(session, transport);
    this.#backoff = new Backoff(settings);
    this.#heartbeat = new Heartbeat({
      onAlive: () => events.onTick(),
      sendPing: () => this.#socket?.send(PING),
      onDead: () => this.#handleLoss(this.#socketNumber, ABNORMAL, 'silence'),
    });
  }

  start(): void {
    if (this.state === 'idle' || this.state === 'stopped') void this.#connect();
  }

  /** @returns false when there is no open socket */
  send(text: string): boolean {
    if (this.state !== 'open') return false;
    this.#socket!.send(text);
    return true;
  }

  /** Replaces the socket by a new one, e.g. so that the server delivers items again that could not be handled. */
  reconnect(reason: string): void {
    if (this.state === 'open' || this.state === 'connecting')
      this.#handleLoss(this.#socketNumber, CLOSE.normal, reason);
  }

  /** Resolves when the server has closed the socket, or after 2 s. */
  close(): Promise<void> {
    const socket = this.#socket;
    const wasOpen = this.state === 'open';
    this.state = 'stopped';
    this.#clearTimers();
    if (!socket) return Promise.resolve();
    this.#socket = undefined;
    if (!wasOpen) {
      this.#socketNumber++;
      socket.terminate();
      return Promise.resolve();
    }
    return new Promise((resolve) => {
      const timer = setTimeout(() => {
        socket.terminate();
        resolve();
      }, CLOSE_TIMEOUT_MS);
      this.#onSocketClosed = () => {
        clearTimeout(timer);
        resolve();
      };
      socket.close(CLOSE.normal);
    });
  }

  async #connect(): Promise<void> {
    this.state = 'connecting';
    const number = ++this.#socketNumber;
    const isCurrent = (): boolean => number === this.#socketNumber;
    this.#timer = setTimeout(() => this.#handleLoss(number, ABNORMAL, 'no welcome'), this.#settings.handshake_ms);
    if (this.#credentials.mayBeRefusedOrigin && (await this.#endIfOriginRefused(number))) return;
    try {
      const { protocols, headers } = await this.#credentials.obtain();
      if (!isCurrent() || this.state !== 'connecting') return;
      this.#socket = this.#transport.open(this.#url, protocols, headers, {
        open: () => {},
        message: (text) => isCurrent() && this.#handleMessage(text),
        alive: () => this.#heartbeat.noteActivity(),
        close: (code, reason, status) => {
          this.#onSocketClosed?.();
          if (isCurrent()) this.#credentials.noteClose(this.state === 'connecting', status);
          this.#handleLoss(number, code, reason);
        },
      });
    } catch (error) {
      if (!isCurrent()) return;
      const known = error instanceof SealwireError ? error : new SealwireError('unavailable', String(error));
      if (known.code === 'signed_out' || isAuthError(known)) this.#end(known);
      this.#credentials.noteFailure(known);
      this.#handleLoss(number, ABNORMAL, known.code);
    }
  }

  /** @returns true when this attempt is over: the origin is refused, which no retry changes, or the query took too long */
  async #endIfOriginRefused(number: number): Promise<boolean> {
    const refusal = await this.#credentials.findRefusal(this.#url);
    if (number !== this.#socketNumber || this.state !== 'connecting') return true;
    if (refusal) this.#end(refusal);
    return refusal !== undefined;
  }

  #handleMessage(text: string): void {
    this.#heartbeat.noteActivity();
    let frame: ServerFrame;
    try {
      frame = JSON.parse(text);
    } catch {
      this.#handleLoss(this.#socketNumber, ABNORMAL, 'not JSON');
      return;
    }
    if (frame.type === 'pong') return;
    if (frame.type === 'connection.welcome') this.#handleWelcome(frame);
    else if (frame.type === 'connection.draining') this.#scheduleReconnect(frame.reconnect_in_ms);
    if (this.state !== 'stopped') this.#events.onFrame(frame);
  }

  #handleWelcome(welcome: Welcome): void {
    this.#clearTimers();
    this.state = 'open';
    this.#backoff.noteWelcome();
    this.#credentials.noteWelcome();
    this.#heartbeat.start(this.#settings.silence_ms || welcome.heartbeat_sec * 1000);
    this.#events.onWelcome(welcome);
  }

  /** The edge drains its connections before it ends, so the next socket will reach another edge. */
  #scheduleReconnect(delayMs: number): void {
    const number = this.#socketNumber;
    this.#timer = setTimeout(() => this.#handleLoss(number, CLOSE.normal, 'draining', 0), delayMs);
  }

  /** Gives up the socket `number` and schedules the next one, unless the close code says to stay away. */
  #handleLoss(number: number, code: number, reason: string, fixedDelayMs?: number): void {
    if (number !== this.#socketNumber || this.state === 'stopped' || this.state === 'waiting') return;
    const socket = this.#socket;
    this.#socket = undefined;
    this.#clearTimers();
    this.#socketNumber++;
    // A socket that this side closes still sends its last frames. Any other socket has no peer that could read them.
    if (code === CLOSE.normal) socket?.close(CLOSE.normal);
    else socket?.terminate();
    const finalError = finalErrorOf(code, reason);
    if (finalError) {
      this.#end(finalError);
      return;
    }
    if (code === CLOSE.unauthenticated) this.#credentials.noteUnauthenticated();
    // After the welcome the code means that the token is no longer valid. Before it, the code is a refusal like a 401: the
    // request for a ticket shows whether the token was at fault.
    const isTokenSpent = code === CLOSE.unauthenticated && this.#backoff.wasWelcomed;
    const isRateLimited = code === CLOSE.too_many_commands;
    const delayMs = this.#backoff.nextDelayMs({ isRateLimited, fixedMs: fixedDelayMs });
    this.state = 'waiting';
    this.#timer = setTimeout(() => void this.#retry(isTokenSpent, number + 1), delayMs);
    this.#events.onLost(code, reason, Math.round(delayMs));
  }

  /** Connects again; first refreshes a token that the server refused while the socket was open, whatever its expiry. */
  async #retry(isTokenSpent: boolean, number: number): Promise<void> {
    const isCurrent = (): boolean => number === this.#socketNumber && this.state === 'waiting';
    if (isTokenSpent) {
      try {
        await this.#session.refresh();
      } catch (error) {
        if (!isCurrent()) return;
        if (error instanceof SealwireError && error.code === 'signed_out') this.#end(error);
      }
    }
    if (isCurrent()) await this.#connect();
  }

  #end(error: SealwireError): void {
    this.state = 'stopped';
    this.#clearTimers();
    this.#events.onEnded(error);
  }

  #clearTimers(): void {
    clearTimeout(this.#timer);
    this.#heartbeat.close();
  }
}

/** Returns the error of a close code after which this device must not connect again. */
function finalErrorOf(code: number, reason: string): SealwireError | undefined {
  if (code === CLOSE.replaced) return new SealwireError('replaced', 'this device has connected elsewhere');
  if (code === CLOSE.forbidden) return new SealwireError('forbidden', reason || 'the edge refuses this device');
  return undefined;
}
