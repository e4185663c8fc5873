/**
 * One socket after the other, until told to stop: `idle → connecting → open → waiting → connecting …`, `stopped` at the
 * end. What travels over the socket is not its business.
 */
import type { ServerFrame, Welcome } from '../shared/contract/frames/server.ts';
import { FORBIDDEN, LEFT, REPLACED, TOO_MANY_COMMANDS, UNAUTHENTICATED } from './close-codes.ts';
import { isAuthError, SealwireError } from './errors.ts';
import { findRefusal } from './refusal.ts';
import type { Session } from './session.ts';
import type { DeviceSettings } from './settings.ts';
import type { Transport, Wire } from './transports/types.ts';

const SUBPROTOCOL = 'sealwire.v1.json';
const PING = '{"type":"ping"}';
/** A connection that held so long is a good one. */
const STABLE_MS = 5_000;

export interface ConnectionEvents {
  welcome(welcome: Welcome): void;
  frame(frame: ServerFrame): void;
  /** Silence checked and found none: a chance to look after what waits long. */
  tick(): void;
  down(code: number, reason: string, retry_in_ms: number): void;
  /** For good. */
  stopped(error: SealwireError): void;
}

export class Connection {
  state: 'idle' | 'connecting' | 'open' | 'waiting' | 'stopped' = 'idle';
  #url: string;
  #session: Session;
  #transport: Transport;
  #settings: DeviceSettings;
  #events: ConnectionEvents;
  #wire: Wire | undefined;
  /** Counts sockets: what an earlier one still says is not heard. */
  #life = 0;
  #attempt = 0;
  /** When the last welcome came, ms. */
  #opened = Number.POSITIVE_INFINITY;
  /** The last socket was refused before its welcome: asking for a ticket will say why. */
  #refused = false;
  /** The last attempt failed so that a page of a refused origin would see nothing else. */
  #blocked = false;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #watch: ReturnType<typeof setInterval> | undefined;
  #heard = true;
  #pinged = false;

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
  }

  start(): void {
    if (this.state === 'idle' || this.state === 'stopped') void this.#connect();
  }

  /** @returns false when there is no open socket. */
  send(text: string): boolean {
    if (this.state !== 'open') return false;
    this.#wire!.send(text);
    return true;
  }

  /** Gives up this socket for a new one, e.g. so that the server delivers again what could not be handled. */
  reset(reason: string): void {
    if (this.state === 'open' || this.state === 'connecting') this.#down(this.#life, LEFT, reason);
  }

  /** @returns when the server has closed the socket, or 2 s later. */
  stop(): Promise<void> {
    const wire = this.#wire;
    const open = this.state === 'open';
    this.state = 'stopped';
    this.#clear();
    if (!wire) return Promise.resolve();
    this.#wire = undefined;
    if (!open) {
      this.#life++;
      wire.terminate();
      return Promise.resolve();
    }
    return new Promise((resolve) => {
      const give_up = setTimeout(() => {
        wire.terminate();
        resolve();
      }, 2_000);
      this.#closed = () => {
        clearTimeout(give_up);
        resolve();
      };
      wire.close(1000);
    });
  }
  #closed: (() => void) | undefined;

  async #connect(): Promise<void> {
    this.state = 'connecting';
    const life = ++this.#life;
    const mine = (): boolean => life === this.#life;
    this.#timer = setTimeout(() => this.#down(life, 1006, 'no welcome'), this.#settings.handshake_ms);
    if (this.#blocked && (await this.#isRefused(life))) return;
    try {
      const protocols: string[] = [SUBPROTOCOL];
      const headers: Record<string, string> = {};
      if (this.#transport.headers && !this.#refused) {
        headers.authorization = `Bearer ${await this.#session.token()}`;
      } else {
        const { ticket } = await this.#session.call<{ ticket: string }>('POST', '/v1/ws/tickets');
        protocols.push(`ticket.${ticket}`);
      }
      if (!mine() || this.state !== 'connecting') return;
      this.#wire = this.#transport.open(this.#url, protocols, headers, {
        open: () => {},
        message: (text) => mine() && this.#message(text),
        alive: () => {
          this.#heard = true;
        },
        close: (code, reason, status) => {
          this.#closed?.();
          // Where the transport can't see why, a ticket is asked for, which tells.
          const early = this.state === 'connecting';
          if (mine()) this.#refused = early && (status === undefined || status === 401);
          if (mine()) this.#blocked = early && (status === 403 || (status === undefined && !this.#transport.headers));
          this.#down(life, code, reason);
        },
      });
    } catch (error) {
      if (!mine()) return;
      const known = error instanceof SealwireError ? error : new SealwireError('unavailable', String(error));
      if (known.code === 'signed_out' || isAuthError(known)) this.#stopped(known);
      this.#blocked = known.code === 'unavailable' && !this.#transport.headers;
      this.#down(life, 1006, known.code);
    }
  }

  /** @returns true when this attempt is over: the origin is refused, which no further attempt changes, or it took too long. */
  async #isRefused(life: number): Promise<boolean> {
    this.#blocked = false;
    const refusal = await findRefusal({ edge: this.#url, api: this.#session.api });
    if (life !== this.#life || this.state !== 'connecting') return true;
    if (refusal) this.#stopped(refusal);
    return refusal !== undefined;
  }

  #message(text: string): void {
    this.#heard = true;
    let frame: ServerFrame;
    try {
      frame = JSON.parse(text);
    } catch {
      this.#down(this.#life, 1006, 'not JSON');
      return;
    }
    if (frame.type === 'pong') return;
    if (frame.type === 'connection.welcome') this.#welcome(frame);
    else if (frame.type === 'connection.draining') this.#drain(frame.reconnect_in_ms);
    if (this.state !== 'stopped') this.#events.frame(frame);
  }

  #welcome(welcome: Welcome): void {
    this.#clear();
    this.state = 'open';
    this.#opened = Date.now();
    this.#refused = false;
    this.#heard = true;
    this.#pinged = false;
    this.#watch = setInterval(() => this.#check(), this.#settings.silence_ms || welcome.heartbeat_sec * 1000);
    this.#events.welcome(welcome);
  }

  /** Half-open sockets say nothing and take everything. */
  #check(): void {
    if (this.#heard) {
      this.#heard = false;
      this.#pinged = false;
      this.#events.tick();
    } else if (this.#pinged) {
      this.#down(this.#life, 1006, 'silence');
    } else {
      this.#pinged = true;
      this.#wire?.send(PING);
    }
  }

  #drain(reconnect_in_ms: number): void {
    const life = this.#life;
    this.#timer = setTimeout(() => this.#down(life, LEFT, 'draining', 0), reconnect_in_ms);
  }

  #down(life: number, code: number, reason: string, wait?: number): void {
    if (life !== this.#life || this.state === 'stopped' || this.state === 'waiting') return;
    const wire = this.#wire;
    this.#wire = undefined;
    this.#clear();
    this.#life++;
    // By own choice: what was said last still leaves. Else there is nobody to say it to.
    if (code === LEFT) wire?.close(LEFT);
    else wire?.terminate();
    if (code === REPLACED || code === FORBIDDEN) {
      const why = code === REPLACED ? 'this device has connected elsewhere' : reason || 'the edge refuses this device';
      this.#stopped(new SealwireError(code === REPLACED ? 'replaced' : 'forbidden', why));
      return;
    }
    if (code === UNAUTHENTICATED) this.#refused = true;
    // Before the welcome it refuses as a 401 does: asking for a ticket tells whether the token or only the ticket was at fault.
    const spent = code === UNAUTHENTICATED && this.#opened !== Number.POSITIVE_INFINITY;
    const { backoff_base_ms, backoff_cap_ms } = this.#settings;
    // A socket that was welcomed and soon lost again is one more attempt, or a failing listener would go round and round.
    if (Date.now() - this.#opened >= Math.min(backoff_cap_ms, STABLE_MS)) this.#attempt = 0;
    this.#opened = Number.POSITIVE_INFINITY;
    if (code === TOO_MANY_COMMANDS) this.#attempt = Math.max(this.#attempt, 4);
    const delay = wait ?? Math.random() * Math.min(backoff_cap_ms, backoff_base_ms * 2 ** this.#attempt++);
    this.state = 'waiting';
    this.#timer = setTimeout(() => void this.#again(spent, life + 1), delay);
    this.#events.down(code, reason, Math.round(delay));
  }

  /** A token refused while the socket was open is spent, whatever its date says. */
  async #again(spent: boolean, life: number): Promise<void> {
    if (spent) {
      try {
        await this.#session.refresh();
      } catch (error) {
        if (life !== this.#life || this.state !== 'waiting') return;
        if (error instanceof SealwireError && error.code === 'signed_out') this.#stopped(error);
      }
    }
    if (life === this.#life && this.state === 'waiting') await this.#connect();
  }

  #stopped(error: SealwireError): void {
    this.state = 'stopped';
    this.#clear();
    this.#events.stopped(error);
  }

  #clear(): void {
    clearTimeout(this.#timer);
    clearInterval(this.#watch);
  }
}
