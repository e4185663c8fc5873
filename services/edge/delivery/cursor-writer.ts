/**
 * Writes behind how far each device has got: the newest cursor of each device, many in one statement. Cursors never go back.
 * The same statement writes the `delivered` events that the cursors imply, so a device that acknowledges again after a failed
 * write gets its events written again. `updated_at` is the time up to which a device had everything that was stored for it:
 * an item that its inbox dropped for its age can only have been lost by the device if it was stored later.
 */
import type { Logger } from 'pino';
import { item } from '../../../nats/inbox/item.ts';
import { type PeriodicTask, startPeriodicTask } from '../../../shared/async/periodic-task.ts';
import type { Database } from '../../../shared/db/database.ts';
import { uuid7Time } from '../../../shared/ids.ts';
import { type Delivered, deliveredColumns, INSERT_DELIVERED_EVENTS } from './delivered-events.ts';

const WRITE_EVERY_MS = 500;
/** As many changed cursors are written at once. */
const WRITE_AT_DEVICES = 1_000;

/** The position of a device in its inbox. */
export interface DeviceCursor {
  cursor: number;
  /** The device had everything that was stored for it up to this time, ms since 1970. */
  completeUntilMs: number;
}
const WRITE_CURSORS = `insert into device_cursors (device_id, cursor, updated_at)
  select k.device_id, k.cursor, to_timestamp(k.since / 1000.0)
  from unnest($1::uuid[], $2::bigint[], $3::bigint[]) as k(device_id, cursor, since)
  on conflict (device_id) do update
    set cursor = greatest(device_cursors.cursor, excluded.cursor),
      updated_at = greatest(device_cursors.updated_at, excluded.updated_at)`;
const WRITE_CURSORS_AND_EVENTS = `with moved as (${WRITE_CURSORS}) ${INSERT_DELIVERED_EVENTS}`;

export class CursorWriter {
  readonly #db: Database;
  readonly #log: Logger;
  readonly #writes: PeriodicTask;
  #changed = new Map<string, DeviceCursor>();
  #writing = new Map<string, DeviceCursor>();
  /** Kept for one more flush: an upgrade that queried Postgres before this commit asks here afterwards. */
  #written = new Map<string, DeviceCursor>();
  /** By conversation, sender and device. */
  #delivered = new Map<string, Delivered>();

  constructor(db: Database, log: Logger) {
    this.#db = db;
    this.#log = log;
    this.#writes = startPeriodicTask(() => this.#write(), {
      everyMs: WRITE_EVERY_MS,
      onError: (error) => log.error({ unit: 'cursors', err: error }),
    });
  }

  /**
   * @param completeUntilMs left out where the device may be missing something: then it is the time when the device was made,
   * which had everything at that time
   */
  set(device_id: string, cursor: number, completeUntilMs = uuid7Time(device_id)): void {
    const known = this.#changed.get(device_id);
    if (!known) {
      this.#changed.set(device_id, { cursor, completeUntilMs });
    } else {
      known.cursor = Math.max(known.cursor, cursor);
      known.completeUntilMs = Math.max(known.completeUntilMs, completeUntilMs);
    }
    if (this.#changed.size === WRITE_AT_DEVICES) void this.flush();
  }

  /** Adds to the device's next cursor that its user has the item of `prefix`, and all before it of the same sender. */
  addDelivered(user_id: string, device_id: string, prefix: Buffer): void {
    if (item.userId(prefix) === user_id) return;
    const key = item.senderKey(prefix) + device_id;
    // A copy: the item is a view into a large buffer of the NATS connection.
    this.#delivered.set(key, { user_id, device_id, prefix: item.copyPrefix(prefix) });
  }

  /** A cursor that is not written yet, or was written a moment ago. It counts where it is higher than what Postgres said. */
  get(device_id: string): DeviceCursor | undefined {
    return this.#changed.get(device_id) ?? this.#writing.get(device_id) ?? this.#written.get(device_id);
  }

  /** Forgets a device that was deleted. */
  forgetDevice(device_id: string): void {
    for (const cursors of [this.#changed, this.#writing, this.#written]) cursors.delete(device_id);
  }

  /** Resolves when everything known so far is written, or could not be. */
  flush(): Promise<void> {
    return this.#writes.runAgain();
  }

  async close(): Promise<void> {
    await this.flush();
    await this.#writes.close();
  }

  async #write(): Promise<void> {
    if (this.#changed.size === 0) return;
    this.#writing = this.#changed;
    this.#changed = new Map();
    const delivered = this.#delivered;
    this.#delivered = new Map();
    // Every edge locks rows in the same order.
    const devices = [...this.#writing.keys()].sort();
    try {
      const written = devices.map((device_id) => this.#writing.get(device_id)!);
      const cursors = written.map(({ cursor }) => cursor);
      const values = [devices, cursors, written.map(({ completeUntilMs }) => completeUntilMs)];
      if (delivered.size)
        await this.#db.query(WRITE_CURSORS_AND_EVENTS, [...values, ...deliveredColumns([...delivered.values()])]);
      else await this.#db.query(WRITE_CURSORS, values);
      this.#written = this.#writing;
    } catch (error) {
      for (const [device_id, { cursor, completeUntilMs }] of this.#writing)
        this.set(device_id, cursor, completeUntilMs);
      for (const [key, one] of delivered) if (!this.#delivered.has(key)) this.#delivered.set(key, one);
      this.#log.warn(
        { unit: 'cursors', devices: devices.length, reason: String(error) },
        'cursors were not written; trying again',
      );
    }
    this.#writing = new Map();
  }
}
