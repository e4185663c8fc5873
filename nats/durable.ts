/** Creates and resets the durable consumer of a worker. */
import type { ConsumerConfig } from '@nats-io/jetstream';
import { JetStreamApiError } from '@nats-io/jetstream';
import type { NatsConnection } from 'nats';
import type { Logger } from 'pino';
import { sleep } from '../shared/async/sleep.ts';
import { Backoff } from './backoff.ts';
import { jetstreamManager } from './jetstream-manager.ts';
import { jsApi, requestJetStream } from './js-api.ts';
import type { StreamSpec } from './streams.ts';

export interface Durable {
  stream: string;
  consumer: Partial<ConsumerConfig> & { durable_name: string };
  /** Created when the broker does not have it any more: for a stream in memory. */
  createStream?: StreamSpec['config'];
}
/** The longest pause before what failed is tried again: a new leader of a cluster's stream is found within it. */
export const RETRY_CAP_MS = 2_000;

/**
 * The broker says that a durable was deleted before it has removed its files. One that is created meanwhile loses its
 * directory and can't be created again until the broker restarts (seen with nats-server 2.14.0).
 */
const DELETED_MS = 250;

/** Creates a durable, and its stream where `createStream` is given, as topology specifies them. */
async function createDurable(nc: NatsConnection, { stream, consumer, createStream }: Durable): Promise<void> {
  const manager = await jetstreamManager(nc);
  if (createStream) await manager.streams.add(createStream);
  await manager.consumers.add(stream, consumer);
}

/**
 * Makes a durable deliver from stream sequence `from` on, or from its ack floor.
 * @returns the number of its next delivery and the stream sequence that it begins at
 */
export async function resetDurable(
  nc: NatsConnection,
  { stream, consumer }: Durable,
  from: number | undefined,
): Promise<{ delivery: number; seq: number }> {
  const info = await requestJetStream<{ ack_floor: { consumer_seq: number }; reset_seq: number }>(
    nc,
    jsApi.consumerReset(stream, consumer.durable_name),
    from === undefined ? '' : { seq: from },
  ).catch((error: unknown) => {
    if (!(error instanceof JetStreamApiError)) throw error;
    throw new Error(`consumer reset: ${error.message}`, { cause: error });
  });
  return { delivery: info.ack_floor.consumer_seq + 1, seq: info.reset_seq };
}

/**
 * Creates a durable again that is gone (a stream in memory goes with the broker, consumers and all) or has no leader. One
 * attempt at a time, each after a longer pause: JetStream answers requests without a pause in between with 503 at once.
 */
export class DurableRecovery {
  isRunning = false;
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

  /** JetStream serves the durable: the next recovery begins with the shortest pause. */
  resetBackoff(): void {
    this.#backoff.reset();
  }

  /** Resolves once the durable was created, or when `isWanted()` no longer holds. */
  async run(isWanted: () => boolean): Promise<void> {
    this.isRunning = true;
    while (isWanted()) {
      const { waitMs, shouldLog } = this.#backoff.recordFailure();
      const tries = this.#backoff.failures;
      // Longer also after a recovery that succeeded, as long as the durable has not served anything since.
      await sleep(tries > 1 ? waitMs : DELETED_MS);
      try {
        await createDurable(this.#nc, this.#durable);
        if (shouldLog) this.#log.info({ tries }, 'durable created again');
        break;
      } catch (error) {
        if (shouldLog)
          this.#log.warn({ tries, reason: String(error) }, 'the durable could not be created, trying again');
      }
    }
    this.isRunning = false;
  }
}
