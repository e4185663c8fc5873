/**
 * Watches how much waits for each person. Counting acknowledgements would cost every message something, and counting what is
 * written for each person would need memory for all of them; instead each written item has a small chance to make fanout ask
 * the broker how many items wait for the person's slowest device. People over the quota are listed in the bucket `full`, which
 * ingest watches, until a later check finds them below it.
 */
import type { KV } from '@nats-io/kv';
import type { NatsConnection } from 'nats';
import type { Logger } from 'pino';
import { countPending, positionOf } from '../../nats/inbox/backlog.ts';
import { readCursorMap } from '../../nats/inbox/cursor-map-store.ts';
import { type FullFor, openFullInboxes } from '../../nats/inbox/full-inboxes.ts';
import { type PeriodicTask, startPeriodicTask } from '../../shared/async/periodic-task.ts';
import { Semaphore } from '../../shared/async/semaphore.ts';
import type { Config } from '../../shared/config/index.ts';
import type { Query } from '../../shared/db/database.ts';
import { shardOf } from '../../shared/ids.ts';

/** Posts to groups may fill this share of a quota: the rest is kept for people who write to the person. */
const GROUPS_SHARE = 0.75;
/** Interval at which each full inbox is checked. */
const FULL_CHECK_MS = 2_000;
/**
 * Checks for one quota of items, on average. The chance that a second quota is written without a check, so that the broker
 * drops the oldest items (topology: twice the quota), is e^-16.
 */
const CHECKS_PER_QUOTA = 16;

export class Quota {
  readonly #nc: NatsConnection;
  readonly #config: Config;
  readonly #query: Query;
  readonly #log: Logger;
  /** By user with a full inbox: whose messages it does not take any more. */
  readonly #full = new Map<string, FullFor>();
  readonly #checking = new Set<string>();
  readonly #gate: Semaphore;
  readonly #task: PeriodicTask;
  #bucket: KV | undefined;

  constructor(nc: NatsConnection, config: Config, query: Query, log: Logger) {
    this.#nc = nc;
    this.#config = config;
    this.#query = query;
    this.#log = log;
    this.#gate = new Semaphore(config.FANOUT_MAX_LOOKS);
    this.#task = startPeriodicTask(
      () => {
        for (const user of this.#full.keys()) this.#startCheck(user);
      },
      { everyMs: FULL_CHECK_MS, onError: (error) => this.#warn(error) },
    );
  }

  async open(): Promise<void> {
    this.#bucket = await openFullInboxes(this.#nc);
    for await (const user of await this.#bucket.keys()) this.#full.set(user, 'all');
  }

  close(): Promise<void> {
    return this.#task.close();
  }

  /** Counts items that were just written, by person, and checks some of these people. */
  count(items: Map<string, number>): void {
    const chance = CHECKS_PER_QUOTA / this.#config.INBOX_QUOTA_ITEMS;
    for (const [user, n] of items) if (Math.random() < n * chance) this.#startCheck(user);
  }

  #startCheck(user: string): void {
    if (this.#checking.has(user)) return;
    this.#checking.add(user);
    this.#gate
      .run(() => this.#check(user))
      .catch((error: unknown) => this.#warn(error))
      .finally(() => this.#checking.delete(user));
  }

  #warn(error: unknown): void {
    this.#log.warn({ stage: 'fanout', reason: String(error) }, 'the quota of an inbox could not be checked');
  }

  async #check(user: string): Promise<void> {
    const waiting = await this.#countWaiting(user);
    const quota = this.#config.INBOX_QUOTA_ITEMS;
    const full = waiting >= quota ? 'all' : waiting >= quota * GROUPS_SHARE ? 'groups' : undefined;
    if (full && full !== this.#full.get(user)) {
      this.#log.warn({ stage: 'fanout', waiting, senders: full }, 'an inbox is full');
      this.#full.set(user, full);
      await this.#bucket!.put(user, full);
    } else if (!full && this.#full.delete(user)) await this.#bucket!.purge(user);
  }

  /** Counts the items for the slowest device of a person. A device that was not used within the retention does not count. */
  async #countWaiting(user_id: string): Promise<number> {
    const rows = await this.#query<{ id: string; cursor: number | null }>(
      `select d.id, c.cursor from devices d left join device_cursors c on c.device_id = d.id
       where d.user_id = $1 and d.deleted_at is null
         and greatest(d.created_at, d.last_seen, c.updated_at) > now() - make_interval(days => $2)`,
      [user_id, this.#config.INBOX_RETENTION_DAYS],
    );
    if (!rows.length) return 0;
    const { map } = await readCursorMap(this.#nc, shardOf(user_id, this.#config.INBOX_SHARDS));
    const pending = await Promise.all(
      rows.map(({ id: device_id, cursor }) => {
        const position = positionOf(map, device_id, cursor);
        return countPending(this.#nc, this.#config, { user_id, device_id }, position, 'quota');
      }),
    );
    return Math.max(...pending);
  }
}
