import { type Msg, type NatsConnection, nanos } from 'nats';
import type { Durable } from './durable.ts';
import { PIN_GROUP } from './topology.ts';

/** The broker says so often that it is there; silence of four of them means that it is not. */
export const HEARTBEAT_MS = 1_000;
const EXPIRES_MS = 10_000;

/**
 * A request that only renews says so by its `max_bytes`, which the broker repeats when the request ends: 1 to this, one
 * after the other, so that the end tells which renewal it belongs to. No message is so small. Others have no such limit.
 */
const RENEWALS = 16;

/** Pull requests of one durable, and how many messages are still to come for them. */
export class PullRequests {
  readonly #nc: NatsConnection;
  readonly #subject: string;
  readonly #inbox: string;
  /** The broker takes the pin from a client that has asked for nothing for three times this long (ms). */
  readonly renewMs: number;
  #asked = 0;
  #renewedAt = 0;
  /** When the last renewals were sent, by `max_bytes`. */
  readonly #renewals = new Array<number>(RENEWALS + 1).fill(0);
  #renewal = 0;
  /** When the newest renewal was sent that the broker has accepted: the pin was ours then. */
  #confirmedAt = 0;
  #confirmed: ((pinned: boolean) => void)[] = [];

  /** Deliveries go to `inbox`. */
  constructor(nc: NatsConnection, { stream, consumer }: Durable, inbox: string) {
    this.#nc = nc;
    this.#subject = `$JS.API.CONSUMER.MSG.NEXT.${stream}.${consumer.durable_name}`;
    this.#inbox = inbox;
    this.renewMs = (consumer.priority_timeout ?? 2_000_000_000) / 3_000_000;
  }

  /** Asks for as many as fit into `room`, once half of it is not asked for yet. */
  ask(room: number, pin: string): void {
    if (this.#asked > room / 2 || this.#nc.isClosed()) return;
    const batch = Math.max(1, room - this.#asked);
    this.#asked += batch;
    this.#request({ batch, expires: nanos(EXPIRES_MS), idle_heartbeat: nanos(HEARTBEAT_MS) }, pin);
  }

  /**
   * Renews the pin when it is time. The broker counts requests only, neither deliveries nor acknowledgements; this one
   * has expired when it arrives, so it delivers nothing and does not stay.
   */
  renew(pin: string, now = Date.now()): void {
    if (!pin || now - this.#renewedAt < this.renewMs || this.#nc.isClosed()) return;
    this.#renewedAt = now;
    this.#renewal = (this.#renewal % RENEWALS) + 1;
    this.#renewals[this.#renewal] = now;
    this.#request({ batch: 1, max_bytes: this.#renewal, expires: 1 }, pin);
  }

  /**
   * Whether the broker has said within the pin's time-out that the pin is ours. After a pause (a frozen process) it is
   * asked; false when it was given to another client, or does not answer.
   */
  async holds(pin: string): Promise<boolean> {
    if (Date.now() - this.#confirmedAt < 3 * this.renewMs) return true;
    this.#renewedAt = 0;
    this.renew(pin);
    return await new Promise((resolve) => {
      const timer = setTimeout(() => resolve(false), 2 * HEARTBEAT_MS);
      this.#confirmed.push((pinned) => {
        clearTimeout(timer);
        resolve(pinned);
      });
    });
  }

  #settle(pinned: boolean): void {
    for (const settle of this.#confirmed.splice(0)) settle(pinned);
  }

  #request(what: object, pin: string): void {
    const request = { ...what, group: PIN_GROUP, ...(pin ? { id: pin } : {}) };
    this.#nc.publish(this.#subject, JSON.stringify(request), { reply: this.#inbox });
  }

  arrived(): void {
    this.#asked = Math.max(0, this.#asked - 1);
  }

  /** A request that ended early says how many of its messages will not come. */
  ended(status: Msg): void {
    const renewal = Number(status.headers?.get('Nats-Pending-Bytes') ?? 0);
    if (renewal > 0) {
      const { code, description = '' } = status.headers!;
      // Too old, or met by a message that does not fit into it: either way the broker took it for one of the pinned client.
      if (code !== 408 && !(code === 409 && /max_?bytes/i.test(description))) return;
      this.#confirmedAt = Math.max(this.#confirmedAt, this.#renewals[renewal] ?? 0);
      if (Date.now() - this.#confirmedAt < 3 * this.renewMs) this.#settle(true);
      return;
    }
    this.#asked = Math.max(0, this.#asked - Number(status.headers?.get('Nats-Pending-Messages') ?? 0));
  }

  forget(): void {
    this.#asked = 0;
    this.#renewals.fill(0);
    this.#confirmedAt = 0;
    this.#settle(false);
  }
}
