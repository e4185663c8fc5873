/**
 * From an open socket to a session: who it is and how far the device has got is looked up while the socket is open already.
 * Until then nothing is sent to it, and the frames that it sends wait, in order and within bounds.
 */
import { ApiError } from '../../../shared/contract/errors.ts';
import { CLOSE } from '../../../shared/contract/protocol.ts';
import { uuid7 } from '../../../shared/ids.ts';
import type { Commands } from '../commands/dispatch.ts';
import type { Reached } from '../delivery/cursor-writer.ts';
import type { Edge } from '../edge.ts';
import type { Admission, Claim, Identity } from './admission.ts';
import { Connection, type Socket } from './connection.ts';

/** A frame as it came; undefined for one that is not text. */
type Frame = string | undefined;

export class Entering {
  session: Connection | undefined;
  readonly #edge: Edge;
  readonly #commands: Commands;
  readonly #socket: Socket;
  readonly #ip: string;
  #early: Frame[] = [];
  #earlyBytes = 0;
  #open = true;

  constructor(edge: Edge, commands: Commands, socket: Socket, ip: string) {
    this.#edge = edge;
    this.#commands = commands;
    this.#socket = socket;
    this.#ip = ip;
  }

  /** Resolves when the socket has its session, or is told why it gets none. */
  async enter(admission: Admission, claim: Claim): Promise<void> {
    try {
      if (!claim.identity) {
        const identity = await admission.identify(claim);
        if (!this.#open) return;
        admission.identified(claim, identity);
      }
      const identity = claim.identity!;
      const reached = await admission.standing(identity);
      if (!this.#open) return;
      if (this.#edge.draining) this.#refuse(CLOSE.restarting, 'restarting');
      else this.#begin(identity, reached);
    } catch (error) {
      if (!(error instanceof ApiError)) this.#edge.log.error({ unit: 'upgrade', err: error });
      const { code, message } = error instanceof ApiError ? error : { code: 'internal', message: 'try again' };
      this.#refuse(REASONS[code] ?? CLOSE.try_again, message);
    }
  }

  take(frame: Frame): void {
    if (this.session) {
      this.#hear(this.session, frame);
      return;
    }
    const { WS_MAX_EARLY_FRAMES, WS_MAX_BUFFERED_BYTES } = this.#edge.config;
    this.#earlyBytes += frame?.length ?? 0;
    if (this.#early.push(frame) > WS_MAX_EARLY_FRAMES || this.#earlyBytes > WS_MAX_BUFFERED_BYTES)
      this.#refuse(CLOSE.too_many_commands, 'too many commands before the welcome');
  }

  /** The socket is gone. */
  closed(): void {
    this.#open = false;
    this.#early = [];
  }

  #refuse(code: number, reason: string): void {
    if (!this.#open) return;
    this.closed();
    this.#edge.metrics.records.inc({ stage: 'edge', outcome: 'refused' });
    this.#socket.end(code, reason);
  }

  #begin(identity: Identity, reached: Reached | undefined): void {
    const edge = this.#edge;
    const session = new Connection(edge, this.#socket, uuid7(), identity, this.#ip);
    this.session = session;
    edge.metrics.sockets.inc();
    const { device_id, user_id, connection_id } = session;
    edge.sessions.get(device_id)?.end(CLOSE.replaced, 'a newer connection of this device');
    edge.sessions.set(device_id, session);
    edge.presence.here(device_id);
    edge.people.join(session);
    edge.people.signal(user_id, { t: 'replaced', device_id, connection_id });
    session.inbox.start(later(edge.cursors.get(device_id), reached));
    for (const frame of this.#early.splice(0)) this.#hear(session, frame);
  }

  #hear(session: Connection, frame: Frame): void {
    if (!session.open || session.closingSince) return;
    if (frame === undefined) this.#commands.strike(session, 'frames of this subprotocol are text');
    else this.#commands.take(session, frame);
  }
}

/** With what a socket is closed whose owner turns out not to be let in. */
const REASONS: Partial<Record<string, number>> = {
  unauthenticated: CLOSE.unauthenticated,
  token_expired: CLOSE.unauthenticated,
  forbidden: CLOSE.forbidden,
  rate_limited: CLOSE.too_many_commands,
};

/** Of what this edge knows and what the database said. */
function later(a: Reached | undefined, b: Reached | undefined): Reached | undefined {
  if (!a || !b) return a ?? b;
  return { cursor: Math.max(a.cursor, b.cursor), since: Math.max(a.since, b.since) };
}
