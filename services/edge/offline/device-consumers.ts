/**
 * The inbox streams as the edge uses them: what is the newest item of a device, and a device's durable consumer, which
 * replays what it missed. The durable only carries the replay and the operators' view; how far a device has got is its
 * cursor, so a durable may vanish at any time and is made again from there.
 */
import type { ConsumerConfig } from '@nats-io/jetstream';
import { createInbox, type Msg, type NatsConnection, nanos, type Subscription, TimeoutError } from 'nats';
import { parseAckSubject } from '../../../nats/ack-subject.ts';

import { inboxPrefix } from '../../../nats/connect.ts';
import { timeoutsOf } from '../../../nats/jetstream-manager.ts';
import { consumer, inboxStream, subject } from '../../../nats/topology.ts';
import { Semaphore } from '../../../shared/async/semaphore.ts';
import { sleep } from '../../../shared/async/sleep.ts';
import type { Config } from '../../../shared/config/index.ts';
import { shardOf } from '../../../shared/ids.ts';
import type { InboxShards } from './inbox-shards.ts';

export interface DeviceAddress {
  user_id: string;
  device_id: string;
}
export interface Replayed {
  data: Buffer;
  seq: number;
  /** Where to acknowledge it, and by that everything before it. */
  reply: string;
  /** Items after this one. */
  pending: number;
}
export interface BackfillEvents {
  item(item: Replayed): void;
  /** A pull has ended early. `gone`: so has the durable. */
  ended(gone: boolean): void;
}
interface ApiReply {
  error?: { err_code: number; description: string };
  num_pending: number;
  delivered: { consumer_seq: number; stream_seq: number };
}

const EXISTS = 10148;
const NO_MESSAGE = 10037;
const LAGGING_TRIES = 20;
const LAGGING_MS = 100;
/** Within it nothing comes again by itself: the edge asks for what it wants. */
const ACK_WAIT_MS = 3_600_000;
/** Clocks of those who make device ids and of the broker may differ by so much. */
const SKEW_MS = 5_000;

/** Bytes of one pull: an item always fits. */
export const pullBytes = (config: Config): number =>
  Math.max(config.WS_MAX_BUFFERED_BYTES, 4 * config.WS_MAX_COMMAND_BYTES);

export class DeviceConsumers {
  readonly #nc: NatsConnection;
  readonly #config: Config;
  readonly #shards: InboxShards;
  readonly #looks = new Semaphore(512);
  readonly #calls = new Semaphore(64);

  constructor(nc: NatsConnection, config: Config, shards: InboxShards) {
    this.#nc = nc;
    this.#config = config;
    this.#shards = shards;
  }

  /** Sequence of the newest item for a device, 0 when the stream holds none. */
  async last(place: DeviceAddress): Promise<number> {
    const stream = inboxStream(shardOf(place.user_id, this.#config.INBOX_SHARDS));
    const seqs = await this.#looks.run(() =>
      Promise.all(
        this.#subjects(place).map(async (one) => {
          if (this.#config.STREAM_REPLICAS > 1) return await this.#lastOf(stream, one);
          const reply = await this.#nc.request(`$JS.API.DIRECT.GET.${stream}.${one}`, '', {
            timeout: timeoutsOf(this.#nc).requestMs,
          });
          const code = reply.headers?.code ?? 0;
          if (code !== 0 && code !== 404) throw new Error(`${stream}: ${code} ${reply.headers?.description}`);
          return Number(reply.headers?.get('Nats-Sequence') ?? 0);
        }),
      ),
    );
    return Math.max(...seqs);
  }

  /** As the leader of the stream says: a direct get may be answered by a replica that lags. */
  async #lastOf(stream: string, last_by_subj: string): Promise<number> {
    const options = { timeout: timeoutsOf(this.#nc).requestMs };
    const reply = await this.#nc.request(`$JS.API.STREAM.MSG.GET.${stream}`, JSON.stringify({ last_by_subj }), options);
    const { error, message } = reply.json<{
      error?: { err_code: number; description: string };
      message?: { seq: number };
    }>();
    if (error && error.err_code !== NO_MESSAGE) throw new Error(`${stream}: ${error.description}`);
    return message?.seq ?? 0;
  }

  /** The last sequence stored before `at` (ms since 1970), or a few of after it. */
  async before(shard: number, at: number): Promise<number> {
    const start = { start_time: new Date(at - SKEW_MS).toISOString() };
    const asked = JSON.stringify(start);
    for (let tries = this.#config.STREAM_REPLICAS > 1 ? LAGGING_TRIES : 1; ; tries--) {
      const reply = await this.#looks.run(() =>
        this.#nc.request(`$JS.API.DIRECT.GET.${inboxStream(shard)}`, asked, {
          timeout: timeoutsOf(this.#nc).requestMs,
        }),
      );
      if (reply.headers?.code === 0) return Number(reply.headers.get('Nats-Sequence')) - 1;
      const { last_seq, last_at } = await this.#shards.facts(shard, true);
      // In a cluster a replica that lags may have been asked; or what was stored since is gone.
      if (tries === 1 || last_at < at - SKEW_MS) return last_seq;
      await sleep(LAGGING_MS);
    }
  }

  /** Brings the device's durable to `from` and returns how many items it has. */
  async place(place: DeviceAddress, from: number): Promise<number> {
    return await this.#calls.run(async () => {
      try {
        return await this.#make(place, from);
      } catch (error) {
        // In a cluster: a durable has one replica. Where its node is down nobody answers for it, and another one is made.
        if (this.#config.STREAM_REPLICAS === 1 || !(error instanceof TimeoutError)) throw error;
        await this.#delete(place).catch(() => {});
        return await this.#make(place, from);
      }
    });
  }

  async #make(place: DeviceAddress, from: number): Promise<number> {
    const stream = inboxStream(shardOf(place.user_id, this.#config.INBOX_SHARDS));
    const name = consumer.device(place.device_id);
    const create = (): Promise<ApiReply> =>
      this.#call(`CREATE.${stream}.${name}`, {
        stream_name: stream,
        action: 'create',
        config: this.#durable(name, place, from),
      });
    let made = await create();
    // A reset does not go back behind the start that a durable was made with, and is not answered where there is none.
    const elsewhere = !made.error && (made.delivered.stream_seq !== from - 1 || made.delivered.consumer_seq !== 0);
    if (made.error?.err_code === EXISTS || elsewhere) {
      made = await this.#call(`RESET.${stream}.${name}`, { seq: from });
      if (made.error) {
        await this.#delete(place);
        made = await create();
      }
    }
    if (made.error) throw new Error(`${stream} ${name}: ${made.error.description}`);
    return made.num_pending;
  }

  async drop(place: DeviceAddress): Promise<void> {
    await this.#calls.run(() => this.#delete(place));
  }

  #delete({ user_id, device_id }: Pick<DeviceAddress, 'user_id' | 'device_id'>): Promise<ApiReply> {
    const stream = inboxStream(shardOf(user_id, this.#config.INBOX_SHARDS));
    return this.#call(`DELETE.${stream}.${consumer.device(device_id)}`);
  }

  async open(place: DeviceAddress, from: number, events: BackfillEvents): Promise<PullSubscription> {
    const pending = await this.place(place, from);
    const stream = inboxStream(shardOf(place.user_id, this.#config.INBOX_SHARDS));
    return new PullSubscription(
      this.#nc,
      `${stream}.${consumer.device(place.device_id)}`,
      pending,
      this.#config,
      events,
    );
  }

  #subjects({ user_id, device_id }: DeviceAddress): string[] {
    return ['all', device_id].map((target) => subject.inbox(user_id, target, this.#config.INBOX_SHARDS));
  }

  #durable(name: string, place: DeviceAddress, from: number): Record<string, unknown> {
    return {
      durable_name: name,
      name,
      description: `What device ${place.device_id} of user ${place.user_id} has not got yet.`,
      deliver_policy: 'by_start_sequence',
      opt_start_seq: from,
      ack_policy: 'all',
      ack_wait: nanos(ACK_WAIT_MS),
      max_ack_pending: this.#config.WS_MAX_UNACKED,
      max_waiting: 16,
      filter_subjects: this.#subjects(place),
      inactive_threshold: nanos(this.#config.AWAY_CONSUMER_IDLE_DAYS * 86_400_000),
      num_replicas: 1,
    } satisfies Partial<Record<keyof ConsumerConfig, unknown>>;
  }

  async #call(call: string, body?: unknown): Promise<ApiReply> {
    const reply = await this.#nc.request(`$JS.API.CONSUMER.${call}`, body === undefined ? '' : JSON.stringify(body), {
      timeout: timeoutsOf(this.#nc).requestMs,
    });
    return reply.json<ApiReply>();
  }
}

/** One replay of a durable: pulls on demand, items in order. Its subscription is its own, so nothing of another comes in. */
export class PullSubscription {
  readonly pending: number;
  readonly #nc: NatsConnection;
  readonly #next: string;
  readonly #inbox: string;
  readonly #maxBytes: number;
  readonly #events: BackfillEvents;
  readonly #subscription: Subscription;

  constructor(nc: NatsConnection, path: string, pending: number, config: Config, events: BackfillEvents) {
    this.#nc = nc;
    this.pending = pending;
    this.#next = `$JS.API.CONSUMER.MSG.NEXT.${path}`;
    this.#inbox = createInbox(inboxPrefix('edge'));
    this.#maxBytes = pullBytes(config);
    this.#events = events;
    this.#subscription = nc.subscribe(this.#inbox, {
      callback: (error, message) => void (error || this.#hear(message)),
    });
  }

  /** `wait_ms`: how long the broker may wait for the first item; 0 to be told at once that there is none. */
  pull(batch: number, wait_ms = 0): void {
    const how = wait_ms ? { expires: nanos(wait_ms) } : { no_wait: true };
    this.#nc.publish(this.#next, JSON.stringify({ batch, max_bytes: this.#maxBytes, ...how }), { reply: this.#inbox });
  }

  close(): void {
    this.#subscription.unsubscribe();
  }

  #hear(message: Msg): void {
    const { reply } = message;
    if (!reply) {
      const code = message.headers?.code ?? 0;
      if (code === 100) return;
      const about = message.headers?.description ?? '';
      this.#events.ended(code === 503 || (code === 409 && !/max_?bytes|maxbytes/i.test(about)));
      return;
    }
    const { seq, pending } = parseAckSubject(reply);
    const { data } = message;
    this.#events.item({
      data: Buffer.from(data.buffer, data.byteOffset, data.length),
      seq,
      reply,
      pending,
    });
  }
}
