/** A durable as its worker needs it: made again when it is gone, and moved when the worker takes the partition. */

import type { ConsumerConfig } from '@nats-io/jetstream';
import type { NatsConnection } from 'nats';
import type { Logger } from 'pino';
import { Backoff } from './backoff.ts';
import { pause } from './batch-runner.ts';
import { jetstreamManager, timeoutsOf } from './jetstream-manager.ts';
import type { StreamSpec } from './topology.ts';

export interface Durable {
  stream: string;
  consumer: Partial<ConsumerConfig> & { durable_name: string };
  /** Made again when the broker has it no more: for a stream in memory. */
  ensure?: StreamSpec['config'];
}
/** The longest pause before what failed is tried again: a new leader of a cluster's stream is found within it. */
export const RETRY_CAP_MS = 2_000;

/**
 * The broker says that a durable was deleted before it has removed its files. One that is made meanwhile loses its directory
 * and can't be made again until the broker restarts (seen with nats-server 2.14.0).
 */
const DELETED_MS = 250;

/** As topology says. */
export async function makeDurable(nc: NatsConnection, { stream, consumer, ensure }: Durable): Promise<void> {
  const manager = await jetstreamManager(nc);
  if (ensure) await manager.streams.add(ensure);
  await manager.consumers.add(stream, consumer);
}

/** Has it deliver from `from` on, or from its ack floor. Returns its next delivery and the stream sequence it begins at. */
export async function resetDurable(
  nc: NatsConnection,
  { stream, consumer }: Durable,
  from: number | undefined,
): Promise<{ delivery: number; seq: number }> {
  const answer = await nc.request(
    `$JS.API.CONSUMER.RESET.${stream}.${consumer.durable_name}`,
    from === undefined ? '' : JSON.stringify({ seq: from }),
    { timeout: timeoutsOf(nc).requestMs },
  );
  const info = answer.json() as {
    error?: { description: string };
    ack_floor: { consumer_seq: number };
    reset_seq: number;
  };
  if (info.error) throw new Error(`consumer reset: ${info.error.description}`);
  return { delivery: info.ack_floor.consumer_seq + 1, seq: info.reset_seq };
}

/**
 * Makes a durable again that is gone (a stream in memory goes with the broker, consumers and all) or has no leader. One
 * attempt at a time, and each waits longer: what is asked without a pause meanwhile is answered 503 at once.
 */
export class Recovery {
  running = false;
  readonly #nc: NatsConnection;
  readonly #durable: Durable;
  readonly #log: Logger;
  readonly #backoff = new Backoff(100, RETRY_CAP_MS);

  /** `log` names the stage and the partition. */
  constructor(nc: NatsConnection, durable: Durable, log: Logger) {
    this.#nc = nc;
    this.#durable = durable;
    this.#log = log;
  }

  /** JetStream serves the durable: the next attempt need not wait. */
  served(): void {
    this.#backoff.succeed();
  }

  /** Resolves once it was made, or when `wanted()` no longer holds. */
  async run(wanted: () => boolean): Promise<void> {
    this.running = true;
    while (wanted()) {
      const { waitMs, say } = this.#backoff.fail();
      const tries = this.#backoff.count;
      // Also where the attempt before succeeded: nothing was served since.
      await pause(tries > 1 ? waitMs : DELETED_MS);
      try {
        await makeDurable(this.#nc, this.#durable);
        if (say) this.#log.info({ tries }, 'durable made again');
        break;
      } catch (error) {
        if (say) this.#log.warn({ tries, reason: String(error) }, 'durable could not be made');
      }
    }
    this.running = false;
  }
}
