/**
 * Publishes which devices are connected to this edge, for services that do not watch sockets (push). Changes are collected,
 * written to Postgres a few times a second and published on the core subject `presence`. The lease of an edge that dies
 * runs out; an edge whose lease was taken, or was lost with an unlogged table, writes all its devices again.
 */
import type { NatsConnection } from 'nats';
import type { Logger } from 'pino';
import { subject } from '../../../nats/topology.ts';
import { type PeriodicTask, startPeriodicTask } from '../../../shared/async/periodic-task.ts';
import type { Config } from '../../../shared/config/index.ts';
import type { Database } from '../../../shared/db/database.ts';
import { uuid7 } from '../../../shared/ids.ts';
import type { PresenceChange } from '../../../shared/pipeline/presence.ts';

const WRITE_EVERY_MS = 100;
const MAX_DEVICES_PER_STATEMENT = 2_000;

const SET_ONLINE = `insert into device_presence (device_id, edge_id, since) select d, $1, now() from unnest($2::uuid[]) d
  on conflict (device_id) do update set edge_id = excluded.edge_id, since = excluded.since`;
/** Leaves out devices that are connected to another edge by now. */
const SET_OFFLINE = `update device_presence set edge_id = null, since = now()
  where device_id = any($2::uuid[]) and edge_id = $1 returning device_id`;
const RENEW_LEASE = `insert into edge_leases (edge_id, seen_at) values ($1, now())
  on conflict (edge_id) do update set seen_at = now() returning xmax = 0 as is_new`;

/** A device that came and left before it was written has `came` and not `isHere`: its visit ends an absence all the same. */
interface Change {
  came: boolean;
  isHere: boolean;
}

interface PresenceOptions {
  nc: NatsConnection;
  db: Database;
  log: Logger;
  config: Pick<Config, 'PRESENCE_LEASE_MS'>;
  cursors: { flush(): Promise<void> };
  /** Devices that are connected to this edge, by id. */
  connected: { keys(): Iterable<string> };
}

export class Presence {
  readonly #options: PresenceOptions;
  readonly #edgeId = uuid7();
  readonly #writes: PeriodicTask;
  /** Not written yet, by device. */
  readonly #changes = new Map<string, Change>();
  #leasesMade = 0;
  #leaseRenewedAt = 0;

  constructor(options: PresenceOptions) {
    this.#options = options;
    this.#writes = startPeriodicTask(() => this.#write(), {
      everyMs: WRITE_EVERY_MS,
      onError: (error) =>
        options.log.warn({ unit: 'presence', reason: String(error) }, 'presence was not written; trying again'),
    });
  }

  setOnline(device_id: string): void {
    this.#changes.set(device_id, { came: true, isHere: true });
  }
  setOffline(device_id: string): void {
    this.#changes.set(device_id, { came: this.#changes.get(device_id)?.came ?? false, isHere: false });
  }

  /** Writes what is left. The edge goes down: the caller has set every device offline. */
  async close(): Promise<void> {
    await this.#writes.runAgain();
    await this.#writes.close();
    // Without the write the lease must run out: until then the devices count as online, afterwards as offline.
    if (this.#changes.size) return;
    await this.#options.db.query('delete from edge_leases where edge_id = $1', [this.#edgeId]).catch(() => {});
  }

  async #write(): Promise<void> {
    const { db, cursors } = this.#options;
    await this.#renewLease();
    while (this.#changes.size) {
      const changes = [...this.#changes].slice(0, MAX_DEVICES_PER_STATEMENT);
      // Sorted, so that all edges lock rows in the same order.
      const up = changes.flatMap(([device_id, { came }]) => (came ? [device_id] : [])).sort();
      const down = changes.flatMap(([device_id, { isHere }]) => (isHere ? [] : [device_id])).sort();
      if (up.length) await db.query(SET_ONLINE, [this.#edgeId, up]);
      // Flush cursors first: push reads a device's cursor when it learns that the device went offline.
      if (down.length) await cursors.flush();
      const left = down.length ? await db.query<{ device_id: string }>(SET_OFFLINE, [this.#edgeId, down]) : [];
      // A device that changed again during the write stays for the next one.
      for (const [device_id, change] of changes)
        if (this.#changes.get(device_id) === change) this.#changes.delete(device_id);
      this.#publish({ up, down: left.map(({ device_id }) => device_id) });
    }
  }

  async #renewLease(): Promise<void> {
    const { db, config, connected } = this.#options;
    const now = Date.now();
    if (now - this.#leaseRenewedAt <= config.PRESENCE_LEASE_MS / 4) return;
    const [lease] = await db.query<{ is_new: boolean }>(RENEW_LEASE, [this.#edgeId]);
    this.#leaseRenewedAt = now;
    // A second new lease means that the first was lost, perhaps together with the rows of our devices: write them again.
    if (lease!.is_new && this.#leasesMade++ > 0)
      for (const device_id of connected.keys()) if (!this.#changes.has(device_id)) this.setOnline(device_id);
  }

  #publish(change: PresenceChange): void {
    const { nc } = this.#options;
    if (!nc.isClosed() && change.up.length + change.down.length) nc.publish(subject.presence, JSON.stringify(change));
  }
}
