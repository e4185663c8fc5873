/**
 * Durables of devices that are away, so that operators see who is behind (`nats consumer report INBOX_00`): made a while
 * after the socket closed, dropped once the device is live again. The last wish for a device counts; wishes are granted
 * at a bounded rate, since the publish path of a shard pays for every durable.
 */

import { sequenceOf } from '../../../nats/inbox/cursor-map.ts';
import { LruMap } from '../../../shared/async/lru-map.ts';
import { shardOf } from '../../../shared/ids.ts';
import type { Edge } from '../edge.ts';
import type { DeviceAddress } from './device-consumers.ts';

interface Wish extends DeviceAddress {
  due: number;
  /** Undefined: drop it. */
  cursor: number | undefined;
}
const TICK_MS = 100;
const PER_TICK = 20;

export class ConsumerScheduler {
  readonly #edge: Edge;
  readonly #timer: NodeJS.Timeout;
  /** Drops are due at once, durables after the grace; each kind in the order in which it is due. */
  readonly #drops = new Map<string, Wish>();
  readonly #makes = new Map<string, Wish>();
  readonly #working = new Map<string, Promise<void>>();
  /** Devices that were deleted of late: they get no durable any more. */
  readonly #gone: LruMap<string, true>;

  constructor(edge: Edge) {
    this.#edge = edge;
    this.#gone = new LruMap(edge.config.MAX_REMOVED_DEVICES);
    this.#timer = setInterval(() => this.#tick(), TICK_MS).unref();
  }

  /** The socket has closed. */
  left({ user_id, device_id }: DeviceAddress, cursor: number): void {
    this.#drops.delete(device_id);
    if (cursor < 0 || this.#makes.size >= this.#edge.config.AWAY_MAX_WAITING || this.#gone.get(device_id)) return;
    this.#makes.delete(device_id);
    this.#makes.set(device_id, { user_id, device_id, cursor, due: Date.now() + this.#edge.config.AWAY_GRACE_MS });
  }

  /** The device is live; it needs no durable. */
  back({ user_id, device_id }: DeviceAddress): void {
    this.#makes.delete(device_id);
    if (this.#drops.size >= this.#edge.config.AWAY_MAX_WAITING) return;
    this.#drops.set(device_id, { user_id, device_id, cursor: undefined, due: 0 });
  }

  /** Resolves when nobody here touches the device's durable any more. */
  async claim({ device_id }: DeviceAddress): Promise<void> {
    this.#makes.delete(device_id);
    this.#drops.delete(device_id);
    await this.#working.get(device_id);
  }

  /** The device was deleted. Whoever deleted it drops its durable; one that is being made here is dropped here. */
  removed(place: DeviceAddress): void {
    this.#gone.set(place.device_id, true);
    this.#makes.delete(place.device_id);
    this.#drops.delete(place.device_id);
    void this.#working.get(place.device_id)?.then(() => this.back(place));
  }

  close(): void {
    clearInterval(this.#timer);
    this.#drops.clear();
    this.#makes.clear();
  }

  #tick(): void {
    if (this.#edge.nc.isClosed() || this.#working.size > 4 * PER_TICK) return;
    const now = Date.now();
    let budget = PER_TICK;
    for (const wishes of [this.#drops, this.#makes]) {
      for (const [device, wish] of wishes) {
        if (budget === 0 || wish.due > now) break;
        if (this.#working.has(device)) continue;
        budget--;
        wishes.delete(device);
        const work = this.#grant(wish)
          .catch((error: unknown) =>
            this.#edge.log.warn({ unit: 'away', device, reason: String(error) }, 'a durable was left as it is'),
          )
          .finally(() => this.#working.delete(device));
        this.#working.set(device, work);
      }
    }
  }

  async #grant(wish: Wish): Promise<void> {
    const { replay, shards, config, people, sessions } = this.#edge;
    if (wish.cursor === undefined) return await replay.drop(wish);
    const lineage = shards.get(shardOf(wish.user_id, config.INBOX_SHARDS));
    if (!lineage || sessions.has(wish.device_id)) return;
    await replay.place(wish, sequenceOf(lineage, wish.cursor).seq + 1);
    // It may have come back on another edge, which then drops it.
    people.signal(wish.user_id, { t: 'away', device_id: wish.device_id });
  }
}
