/**
 * Who is connected here, for those who must not watch sockets (push): written behind, a turn of a timer at a time, and told
 * on the core subject `presence`. An edge that dies lets its lease run out; one whose lease was taken from it, or lost with
 * an unlogged table, writes anew whom it has.
 */
import { subject } from '../../../nats/topology.ts';
import { uuid7 } from '../../../shared/ids.ts';
import type { PresenceChange } from '../../../shared/pipeline/presence.ts';
import type { Edge } from '../edge.ts';

const EVERY_MS = 100;
const AT_ONCE = 2_000;

const UP = `insert into device_presence (device_id, edge_id, since) select d, $1, now() from unnest($2::uuid[]) d
  on conflict (device_id) do update set edge_id = excluded.edge_id, since = excluded.since`;
/** Not those that another edge has meanwhile. */
const DOWN = `update device_presence set edge_id = null, since = now()
  where device_id = any($2::uuid[]) and edge_id = $1 returning device_id`;
const LEASE = `insert into edge_leases (edge_id, seen_at) values ($1, now())
  on conflict (edge_id) do update set seen_at = now() returning xmax = 0 as anew`;

/** A visit may be over before it is written: `came`, and not `here`. It ends an absence all the same. */
interface Wish {
  came: boolean;
  here: boolean;
}

export class Presence {
  readonly #edge: Edge;
  readonly #id = uuid7();
  readonly #timer: NodeJS.Timeout;
  /** What is to be written of each device. */
  #wishes = new Map<string, Wish>();
  #working: Promise<void> | undefined;
  #leased = 0;
  #renewed = 0;

  constructor(edge: Edge) {
    this.#edge = edge;
    this.#timer = setInterval(() => void this.flush(), EVERY_MS).unref();
  }

  here(device_id: string): void {
    this.#wishes.set(device_id, { came: true, here: true });
  }
  gone(device_id: string): void {
    this.#wishes.set(device_id, { came: this.#wishes.get(device_id)?.came ?? false, here: false });
  }

  flush(): Promise<void> {
    this.#working ??= this.#write()
      .catch((error: unknown) => this.#edge.log.warn({ unit: 'presence', reason: String(error) }, 'kept for later'))
      .finally(() => {
        this.#working = undefined;
      });
    return this.#working;
  }

  /** The edge goes down: everybody has left. */
  async close(): Promise<void> {
    clearInterval(this.#timer);
    await this.#working;
    await this.flush();
    // Otherwise it runs out, and they are known to have left by that.
    if (this.#wishes.size) return;
    await this.#edge.db.query('delete from edge_leases where edge_id = $1', [this.#id]).catch(() => {});
  }

  async #write(): Promise<void> {
    const { db } = this.#edge;
    const now = Date.now();
    if (now - this.#renewed > this.#edge.config.PRESENCE_LEASE_MS / 4) {
      const [lease] = await db.query<{ anew: boolean }>(LEASE, [this.#id]);
      this.#renewed = now;
      // Not the first time: what stood there of our devices is not to be trusted.
      if (lease!.anew && this.#leased++ > 0)
        for (const device of this.#edge.sessions.keys()) if (!this.#wishes.has(device)) this.here(device);
    }
    while (this.#wishes.size) {
      const wishes = [...this.#wishes].slice(0, AT_ONCE);
      const up = wishes.flatMap(([device, { came }]) => (came ? [device] : [])).sort();
      const down = wishes.flatMap(([device, { here }]) => (here ? [] : [device])).sort();
      if (up.length) await db.query(UP, [this.#id, up]);
      // Who is told that a device left looks how far it had got.
      if (down.length) await this.#edge.cursors.flush();
      const left = down.length ? await db.query<{ device_id: string }>(DOWN, [this.#id, down]) : [];
      for (const [device, wish] of wishes) if (this.#wishes.get(device) === wish) this.#wishes.delete(device);
      this.#tell({ up, down: left.map(({ device_id }) => device_id) });
    }
  }

  #tell(change: PresenceChange): void {
    const { nc } = this.#edge;
    if (!nc.isClosed() && change.up.length + change.down.length) nc.publish(subject.presence, JSON.stringify(change));
  }
}
