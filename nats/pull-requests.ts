/** Sends the pull requests of a durable and keeps its pin: the broker serves one client at a time, the pinned one. */
import { type Msg, type NatsConnection, nanos } from 'nats';
import type { Durable } from './durable.ts';
import { jsApi } from './js-api.ts';
import { PIN_GROUP } from './topology.ts';

/** The broker sends a heartbeat this often; after four missing ones it counts as out of reach. */
export const HEARTBEAT_MS = 1_000;
const EXPIRES_MS = 10_000;

/**
 * Renewals are told apart by their `max_bytes`, which the broker repeats when the request ends: 1 to this, one after the
 * other, so that the end says which renewal it belongs to. No message is so small. Other requests have no such limit.
 */
const RENEWALS = 16;

/** `not served`: the durable has no leader, or is gone with its stream. `request ended`: expired, or met a limit. */
type PullStatus = 'heartbeat' | 'pin lost' | 'not served' | 'durable gone' | 'request ended' | 'unknown';

/** Returns what a message without a reply subject says about the request that it answers. */
export function statusOf({ headers }: Msg): PullStatus {
  const { code, description = '' } = headers ?? {};
  if (code === 100) return 'heartbeat';
  if (code === 423) return 'pin lost';
  if (code === 503) return 'not served';
  if (code === 404 || (code === 409 && /deleted/i.test(description))) return 'durable gone';
  return code === 408 || code === 409 ? 'request ended' : 'unknown';
}

/** Counts the messages that are still to come for the requests of one durable. */
export class PullRequests {
  readonly #nc: NatsConnection;
  readonly #subject: string;
  readonly #inbox: string;
  /** The broker takes the pin from a client that has requested nothing for three times this long (ms). */
  readonly renewMs: number;
  #requested = 0;
  #renewedAt = 0;
  /** When the last renewals were sent, by `max_bytes`. */
  readonly #renewals = new Array<number>(RENEWALS + 1).fill(0);
  #renewal = 0;
  /** When the newest renewal that the broker has accepted was sent: the pin was ours then. */
  #confirmedAt = 0;
  #awaitingConfirmation: ((pinned: boolean) => void)[] = [];

  /** Deliveries go to `inbox`. */
  constructor(nc: NatsConnection, { stream, consumer }: Durable, inbox: string) {
    this.#nc = nc;
    this.#subject = jsApi.consumerNext(stream, consumer.durable_name);
    this.#inbox = inbox;
    this.renewMs = (consumer.priority_timeout ?? 2_000_000_000) / 3_000_000;
  }

  /** Requests as many messages as fit into `room`, once half of it is not requested yet. */
  request(room: number, pin: string): void {
    if (this.#requested > room / 2 || this.#nc.isClosed()) return;
    const batch = Math.max(1, room - this.#requested);
    this.#requested += batch;
    this.#send({ batch, expires: nanos(EXPIRES_MS), idle_heartbeat: nanos(HEARTBEAT_MS) }, pin);
  }

  /**
   * Renews the pin when it is time. The broker counts requests only, neither deliveries nor acknowledgements; this request
   * has expired when it arrives, so it delivers nothing and does not stay.
   */
  renew(pin: string, now = Date.now()): void {
    if (!pin || now - this.#renewedAt < this.renewMs || this.#nc.isClosed()) return;
    this.#renewedAt = now;
    this.#renewal = (this.#renewal % RENEWALS) + 1;
    this.#renewals[this.#renewal] = now;
    this.#send({ batch: 1, max_bytes: this.#renewal, expires: 1 }, pin);
  }

  /**
   * Whether the broker has confirmed within the pin's time-out that the pin is ours. After a pause (a frozen process) this
   * asks the broker; false when it has pinned another client, or does not answer.
   */
  async holdsPin(pin: string): Promise<boolean> {
    if (Date.now() - this.#confirmedAt < 3 * this.renewMs) return true;
    this.#renewedAt = 0;
    this.renew(pin);
    return await new Promise((resolve) => {
      const timer = setTimeout(() => resolve(false), 2 * HEARTBEAT_MS);
      this.#awaitingConfirmation.push((pinned) => {
        clearTimeout(timer);
        resolve(pinned);
      });
    });
  }

  #settle(pinned: boolean): void {
    for (const settle of this.#awaitingConfirmation.splice(0)) settle(pinned);
  }

  #send(what: object, pin: string): void {
    const request = { ...what, group: PIN_GROUP, ...(pin ? { id: pin } : {}) };
    this.#nc.publish(this.#subject, JSON.stringify(request), { reply: this.#inbox });
  }

  /** One of the requested messages has come. */
  countArrival(): void {
    this.#requested = Math.max(0, this.#requested - 1);
  }

  /** A request that ended early says how many of its messages will not come; the end of a renewal confirms the pin. */
  handleEnd(status: Msg): void {
    const renewal = Number(status.headers?.get('Nats-Pending-Bytes') ?? 0);
    if (renewal > 0) {
      const { code, description = '' } = status.headers!;
      // Expired, or met by a message that does not fit into it: either way the broker took it as one of the pinned client.
      if (code !== 408 && !(code === 409 && /max_?bytes/i.test(description))) return;
      this.#confirmedAt = Math.max(this.#confirmedAt, this.#renewals[renewal] ?? 0);
      if (Date.now() - this.#confirmedAt < 3 * this.renewMs) this.#settle(true);
      return;
    }
    this.#requested = Math.max(0, this.#requested - Number(status.headers?.get('Nats-Pending-Messages') ?? 0));
  }

  /** Everything requested so far is void. */
  reset(): void {
    this.#requested = 0;
    this.#renewals.fill(0);
    this.#confirmedAt = 0;
    this.#settle(false);
  }
}
