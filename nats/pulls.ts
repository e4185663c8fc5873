import { type Msg, type NatsConnection, nanos } from 'nats';
import type { Durable } from './durable.ts';
import { PIN_GROUP } from './topology.ts';

/** The broker says so often that it is there; silence of four of them means that it is not. */
export const HEARTBEAT_MS = 1_000;
const EXPIRES_MS = 10_000;

/** Marks a request that only renews: the broker says with its end how many bytes of it are left. */
const RENEWAL_BYTES = 1;

/** Pull requests of one durable, and how many messages are still to come for them. */
export class Pulls {
  readonly #nc: NatsConnection;
  readonly #subject: string;
  readonly #inbox: string;
  /** The broker takes the pin from a client that has asked for nothing for three times this long (ms). */
  readonly renewMs: number;
  #asked = 0;
  #askedAt = 0;

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
   * Renews the pin where nothing was asked for a while. The broker counts requests only, neither deliveries nor
   * acknowledgements; this one has expired when it arrives, so it delivers nothing and does not stay.
   */
  renew(pin: string): void {
    if (!pin || Date.now() - this.#askedAt < this.renewMs || this.#nc.isClosed()) return;
    this.#request({ batch: 1, max_bytes: RENEWAL_BYTES, expires: 1 }, pin);
  }

  #request(what: object, pin: string): void {
    this.#askedAt = Date.now();
    const request = { ...what, group: PIN_GROUP, ...(pin ? { id: pin } : {}) };
    this.#nc.publish(this.#subject, JSON.stringify(request), { reply: this.#inbox });
  }

  arrived(): void {
    this.#asked = Math.max(0, this.#asked - 1);
  }

  /** A request that ended early says how many of its messages will not come. */
  ended(status: Msg): void {
    if (Number(status.headers?.get('Nats-Pending-Bytes') ?? 0) === RENEWAL_BYTES) return;
    this.#asked = Math.max(0, this.#asked - Number(status.headers?.get('Nats-Pending-Messages') ?? 0));
  }

  forget(): void {
    this.#asked = 0;
  }
}
