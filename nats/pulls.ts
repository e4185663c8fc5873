import { type ConsumerConfig, jetstreamManager } from '@nats-io/jetstream';
import { type Msg, type NatsConnection, nanos } from 'nats';
import { PIN_GROUP, type StreamSpec } from './topology.ts';

/** The broker says so often that it is there; silence of four of them means that it is not. */
export const HEARTBEAT_MS = 1_000;
const EXPIRES_MS = 10_000;

export interface Durable {
  stream: string;
  consumer: Partial<ConsumerConfig> & { durable_name: string };
  /** Made again when the broker has it no more: for a stream in memory. */
  ensure?: StreamSpec['config'];
}

/** As topology says. */
export async function makeDurable(nc: NatsConnection, { stream, consumer, ensure }: Durable): Promise<void> {
  const manager = await jetstreamManager(nc, { checkAPI: false });
  if (ensure) await manager.streams.add(ensure);
  await manager.consumers.add(stream, consumer);
}

/** Pull requests of one durable, and how many messages are still to come for them. */
export class Pulls {
  readonly #nc: NatsConnection;
  readonly #subject: string;
  readonly #inbox: string;
  #asked = 0;

  /** Deliveries go to `inbox`. */
  constructor(nc: NatsConnection, stream: string, durable: string, inbox: string) {
    this.#nc = nc;
    this.#subject = `$JS.API.CONSUMER.MSG.NEXT.${stream}.${durable}`;
    this.#inbox = inbox;
  }

  /** Asks for as many as fit into `room`, once half of it is not asked for yet. */
  ask(room: number, pin: string): void {
    if (this.#asked > room / 2 || this.#nc.isClosed()) return;
    const batch = Math.max(1, room - this.#asked);
    this.#asked += batch;
    const request = {
      batch,
      expires: nanos(EXPIRES_MS),
      idle_heartbeat: nanos(HEARTBEAT_MS),
      group: PIN_GROUP,
      ...(pin ? { id: pin } : {}),
    };
    this.#nc.publish(this.#subject, JSON.stringify(request), { reply: this.#inbox });
  }

  arrived(): void {
    this.#asked = Math.max(0, this.#asked - 1);
  }

  /** A request that ended early says how many of its messages will not come. */
  ended(status: Msg): void {
    this.#asked = Math.max(0, this.#asked - Number(status.headers?.get('Nats-Pending-Messages') ?? 0));
  }

  forget(): void {
    this.#asked = 0;
  }
}
