/** How far each device has got, written behind: the newest of each device, in one statement. Cursors never go back. */
import type { Logger } from 'pino';
import type { Database } from '../../shared/db/database.ts';

const EVERY_MS = 500;
const AT_ONCE = 1_000;

export class Cursors {
  readonly #db: Database;
  readonly #log: Logger;
  readonly #timer: NodeJS.Timeout;
  #dirty = new Map<string, number>();
  #writing = new Map<string, number>();
  #flushing: Promise<void> | undefined;

  constructor(db: Database, log: Logger) {
    this.#db = db;
    this.#log = log;
    this.#timer = setInterval(() => void this.flush(), EVERY_MS).unref();
  }

  set(device: string, cursor: number): void {
    const known = this.#dirty.get(device);
    if (known === undefined || known < cursor) this.#dirty.set(device, cursor);
    if (this.#dirty.size === AT_ONCE) void this.flush();
  }

  /** What is not written yet; it counts more than what the database says. */
  get(device: string): number | undefined {
    return this.#dirty.get(device) ?? this.#writing.get(device);
  }

  /** The device was deleted. */
  forget(device: string): void {
    this.#dirty.delete(device);
    this.#writing.delete(device);
  }

  /** Resolves when everything known so far is written, or could not be. */
  async flush(): Promise<void> {
    await this.#flushing;
    if (this.#dirty.size === 0) return;
    this.#flushing ??= this.#write().finally(() => {
      this.#flushing = undefined;
    });
    await this.#flushing;
  }

  async close(): Promise<void> {
    clearInterval(this.#timer);
    await this.flush();
  }

  async #write(): Promise<void> {
    this.#writing = this.#dirty;
    this.#dirty = new Map();
    // Every edge locks rows in the same order.
    const devices = [...this.#writing.keys()].sort();
    try {
      await this.#db.query(
        `insert into device_cursors (device_id, cursor, updated_at)
         select k.device_id, k.cursor, now() from unnest($1::uuid[], $2::bigint[]) as k(device_id, cursor)
         on conflict (device_id) do update
           set cursor = greatest(device_cursors.cursor, excluded.cursor), updated_at = excluded.updated_at`,
        [devices, devices.map((device) => this.#writing.get(device))],
      );
    } catch (error) {
      for (const [device, cursor] of this.#writing) this.set(device, cursor);
      this.#log.warn({ unit: 'cursors', devices: devices.length, reason: String(error) }, 'cursors kept for later');
    }
    this.#writing = new Map();
  }
}
