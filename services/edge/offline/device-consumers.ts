/**
 * Makes, moves and deletes the durable consumers of devices, and reads what is newest in a device's inbox. A durable only
 * carries a replay and the operators' view. How far a device has got is its cursor, so a durable may vanish at any time and
 * is made again from the cursor.
 */
import { type ConsumerConfig, JetStreamApiError } from '@nats-io/jetstream';
import { type NatsConnection, nanos, TimeoutError } from 'nats';
import { isConsumerExists } from '../../../nats/errors.ts';
import { type DeviceAddress, firstSeqAfter, lastSeqFor, SKEW_MS } from '../../../nats/inbox/backlog.ts';
import { jsApi, requestJetStream } from '../../../nats/js-api.ts';
import { consumer, inboxStream, inboxSubjects } from '../../../nats/topology.ts';
import { Semaphore } from '../../../shared/async/semaphore.ts';
import { sleep } from '../../../shared/async/sleep.ts';
import type { Config } from '../../../shared/config/index.ts';
import { shardOf } from '../../../shared/ids.ts';
import { PullSubscription } from './pull-subscription.ts';
import type { StreamFactsReader } from './stream-facts.ts';

interface ConsumerInfo {
  num_pending: number;
  delivered: { consumer_seq: number; stream_seq: number };
}

const MAX_READS = 512;
const MAX_CONSUMER_CALLS = 64;
const LAGGING_TRIES = 20;
const LAGGING_MS = 100;
/** Redelivery would only repeat what the edge has: it asks for each item that it wants. */
const ACK_WAIT_MS = 3_600_000;

/** The most bytes of one pull; an item always fits. */
export const maxPullBytes = (config: Pick<Config, 'WS_MAX_BUFFERED_BYTES' | 'WS_MAX_COMMAND_BYTES'>): number =>
  Math.max(config.WS_MAX_BUFFERED_BYTES, 4 * config.WS_MAX_COMMAND_BYTES);

export class DeviceConsumers {
  readonly #nc: NatsConnection;
  readonly #config: Config;
  readonly #streamFacts: StreamFactsReader;
  readonly #reads = new Semaphore(MAX_READS);
  readonly #consumerCalls = new Semaphore(MAX_CONSUMER_CALLS);

  constructor(nc: NatsConnection, config: Config, streamFacts: StreamFactsReader) {
    this.#nc = nc;
    this.#config = config;
    this.#streamFacts = streamFacts;
  }

  /** Returns the sequence of the newest item for a device, 0 when the stream holds none. */
  async findLastSequence(device: DeviceAddress): Promise<number> {
    return await this.#reads.run(() => lastSeqFor(this.#nc, this.#config, device));
  }

  /** Returns the last sequence that was stored before `atMs` (ms since 1970), or one a few seconds earlier. */
  async findSequenceBefore(shard: number, atMs: number): Promise<number> {
    for (let tries = this.#config.STREAM_REPLICAS > 1 ? LAGGING_TRIES : 1; ; tries--) {
      const first = await this.#reads.run(() => firstSeqAfter(this.#nc, shard, atMs));
      if (first !== undefined) return first - 1;
      const { last_seq, last_at } = await this.#streamFacts.read(shard, { fresh: true });
      // In a cluster a replica that lags may have been asked; or what was stored since is gone.
      if (tries === 1 || last_at < atMs - SKEW_MS) return last_seq;
      await sleep(LAGGING_MS);
    }
  }

  /** Makes the device's durable begin at sequence `from`. @returns how many items it has from there */
  async ensureDurable(device: DeviceAddress, from: number): Promise<number> {
    return await this.#consumerCalls.run(async () => {
      try {
        return await this.#createOrReset(device, from);
      } catch (error) {
        // In a cluster: a durable has one replica. While the node of that is down the request times out; make another durable.
        if (this.#config.STREAM_REPLICAS === 1 || !(error instanceof TimeoutError)) throw error;
        await this.#delete(device).catch(() => {});
        return await this.#createOrReset(device, from);
      }
    });
  }

  async deleteDurable(device: DeviceAddress): Promise<void> {
    await this.#consumerCalls.run(() => this.#delete(device));
  }

  /** Opens the pull side of the device's durable, which `ensureDurable` made. */
  subscribe({ user_id, device_id }: DeviceAddress): PullSubscription {
    const pullSubject = jsApi.consumerNext(this.#streamOf(user_id), consumer.device(device_id));
    return new PullSubscription(this.#nc, pullSubject, maxPullBytes(this.#config));
  }

  /** Creates first: the broker does not answer the reset of a durable that does not exist. */
  async #createOrReset(device: DeviceAddress, from: number): Promise<number> {
    const stream = this.#streamOf(device.user_id);
    const config = this.#durableConfig(device, from);
    const create = (): Promise<ConsumerInfo> =>
      requestJetStream(this.#nc, jsApi.consumerCreate(stream, config.name), {
        stream_name: stream,
        action: 'create',
        config,
      });
    try {
      const { delivered, num_pending } = await create();
      if (delivered.stream_seq === from - 1 && delivered.consumer_seq === 0) return num_pending;
    } catch (error) {
      if (!isConsumerExists(error)) throw error;
    }
    try {
      const reset = await requestJetStream<ConsumerInfo>(this.#nc, jsApi.consumerReset(stream, config.name), {
        seq: from,
      });
      return reset.num_pending;
    } catch (error) {
      if (!(error instanceof JetStreamApiError)) throw error;
      // A reset does not go back behind the start that a durable was made with.
      await this.#delete(device);
      return (await create()).num_pending;
    }
  }

  /** Deletes a durable; an error that the broker answers is ignored, since mostly there is no durable to delete. */
  async #delete({ user_id, device_id }: DeviceAddress): Promise<void> {
    try {
      await requestJetStream(this.#nc, jsApi.consumerDelete(this.#streamOf(user_id), consumer.device(device_id)));
    } catch (error) {
      if (!(error instanceof JetStreamApiError)) throw error;
    }
  }

  #durableConfig({ user_id, device_id }: DeviceAddress, from: number) {
    const name = consumer.device(device_id);
    return {
      durable_name: name,
      name,
      description: `What device ${device_id} of user ${user_id} has not got yet.`,
      deliver_policy: 'by_start_sequence',
      opt_start_seq: from,
      ack_policy: 'all',
      ack_wait: nanos(ACK_WAIT_MS),
      max_ack_pending: this.#config.WS_MAX_UNACKED,
      max_waiting: 16,
      filter_subjects: inboxSubjects(user_id, device_id, this.#config.INBOX_SHARDS),
      inactive_threshold: nanos(this.#config.AWAY_CONSUMER_IDLE_DAYS * 86_400_000),
      num_replicas: 1,
    } satisfies Partial<Record<keyof ConsumerConfig, unknown>>;
  }

  #streamOf(user_id: string): string {
    return inboxStream(shardOf(user_id, this.#config.INBOX_SHARDS));
  }
}
