/**
 * How much waits for a person. Counting acknowledgements would cost every message something, and counting what is written
 * for each person would need memory for all of them; instead each item has a small chance to have the broker asked how
 * much the slowest device has before it. People over the quota stand in the bucket `full`, which ingest watches, until a
 * later look finds them below it.
 */

import { AckPolicy, DeliverPolicy } from '@nats-io/jetstream';
import type { KV } from '@nats-io/kv';
import { type NatsConnection, nanos } from 'nats';
import type { Logger } from 'pino';
import { sequenceOf } from '../../nats/inbox/cursor-map.ts';
import { readCursorMap } from '../../nats/inbox/cursor-map-store.ts';
import { type FullFor, openFullInboxes } from '../../nats/inbox/full-inboxes.ts';
import { jetstreamManager } from '../../nats/jetstream-manager.ts';
import { inboxStream, subject } from '../../nats/topology.ts';
import { Semaphore } from '../../shared/async/semaphore.ts';
import type { Config } from '../../shared/config/index.ts';
import type { Query } from '../../shared/db/database.ts';
import { shardOf, uuid7Time } from '../../shared/ids.ts';

/** Posts to groups may fill so much of a quota: the rest is kept for people who write to the person. */
const GROUPS_SHARE = 0.75;
const LOOK_AGAIN_MS = 2_000;
/**
 * Looks for one quota of items, on average. That a second quota is written without one, so that the broker drops the
 * oldest items (topology: twice the quota), has a chance of e^-16.
 */
const LOOKS_PER_QUOTA = 16;

export class Quota {
  readonly #nc: NatsConnection;
  readonly #config: Config;
  readonly #query: Query;
  readonly #log: Logger;
  /** For whom an inbox is full, by its user. */
  readonly #full = new Map<string, FullFor>();
  readonly #looking = new Set<string>();
  readonly #gate: Semaphore;
  readonly #timer: NodeJS.Timeout;
  #bucket: KV | undefined;

  constructor(nc: NatsConnection, config: Config, query: Query, log: Logger) {
    this.#nc = nc;
    this.#config = config;
    this.#query = query;
    this.#log = log;
    this.#gate = new Semaphore(config.FANOUT_MAX_LOOKS);
    this.#timer = setInterval(() => {
      for (const user of this.#full.keys()) this.#look(user);
    }, LOOK_AGAIN_MS).unref();
  }

  async open(): Promise<void> {
    this.#bucket = await openFullInboxes(this.#nc);
    for await (const user of await this.#bucket.keys()) this.#full.set(user, 'all');
  }

  close(): void {
    clearInterval(this.#timer);
  }

  /** `items`: written a moment ago, by person. */
  count(items: Map<string, number>): void {
    const each = LOOKS_PER_QUOTA / this.#config.INBOX_QUOTA_ITEMS;
    for (const [user, n] of items) if (Math.random() < n * each) this.#look(user);
  }

  #look(user: string): void {
    if (this.#looking.has(user)) return;
    this.#looking.add(user);
    this.#gate
      .run(() => this.#check(user))
      .catch((error: unknown) =>
        this.#log.warn({ stage: 'fanout', reason: String(error) }, 'a quota could not be looked at'),
      )
      .finally(() => this.#looking.delete(user));
  }

  async #check(user: string): Promise<void> {
    const waiting = await this.#waiting(user);
    const quota = this.#config.INBOX_QUOTA_ITEMS;
    const full = waiting >= quota ? 'all' : waiting >= quota * GROUPS_SHARE ? 'groups' : undefined;
    if (full && full !== this.#full.get(user)) {
      this.#log.warn({ stage: 'fanout', waiting, senders: full }, 'an inbox is full');
      this.#full.set(user, full);
      await this.#bucket!.put(user, full);
    } else if (!full && this.#full.delete(user)) await this.#bucket!.purge(user);
  }

  /** Items before the slowest device of a person; devices that nobody used since the retention began do not count. */
  async #waiting(user: string): Promise<number> {
    const rows = await this.#query<{ id: string; cursor: number | null }>(
      `select d.id, c.cursor from devices d left join device_cursors c on c.device_id = d.id
       where d.user_id = $1 and d.deleted_at is null
         and greatest(d.created_at, d.last_seen, c.updated_at) > now() - make_interval(days => $2)`,
      [user, this.#config.INBOX_RETENTION_DAYS],
    );
    if (!rows.length) return 0;
    const shard = shardOf(user, this.#config.INBOX_SHARDS);
    const { map: lineage } = await readCursorMap(this.#nc, shard);
    const manager = await jetstreamManager(this.#nc);
    const pending = await Promise.all(
      rows.map(async ({ id, cursor }) => {
        const from =
          cursor === null || !lineage
            ? { deliver_policy: DeliverPolicy.StartTime, opt_start_time: new Date(uuid7Time(id)).toISOString() }
            : { deliver_policy: DeliverPolicy.StartSequence, opt_start_seq: sequenceOf(lineage, cursor).seq + 1 };
        const name = `quota_${id}`;
        const info = await manager.consumers.add(inboxStream(shard), {
          name,
          description: 'Looks how much waits for a device.',
          ack_policy: AckPolicy.None,
          filter_subjects: ['all', id].map((target) => subject.inbox(user, target, this.#config.INBOX_SHARDS)),
          inactive_threshold: nanos(5_000),
          mem_storage: true,
          ...from,
        });
        await manager.consumers.delete(inboxStream(shard), name);
        return info.num_pending;
      }),
    );
    return Math.max(...pending);
  }
}
