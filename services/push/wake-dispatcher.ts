/**
 * Dispatches wake-ups. What is due is recorded in Postgres and claimed from there, so that a wake-up outlives this process, and
 * several processes share the work. Before a wake-up goes out the dispatcher checks once more whether the device is away, not
 * muted, and still has something waiting.
 */
import { type PeriodicTask, startPeriodicTask } from '../../shared/async/periodic-task.ts';
import type { Config } from '../../shared/config/index.ts';
import type { Database } from '../../shared/db/database.ts';
import type { Context } from '../../shared/service.ts';
import type { AwayDevice, DueDevice } from './away-device.ts';
import { scheduleAfter } from './handle.ts';
import type { Sender } from './sender.ts';
import * as store from './store.ts';

const CLAIM_EVERY_MS = 1_000;

export interface DispatcherParts extends Pick<Context, 'config' | 'log' | 'metrics' | 'db'> {
  sender: Sender;
  /** Whether something waits for the device that is worth a wake-up. */
  hasWakingItem(device: AwayDevice): Promise<boolean>;
  /** Watches those of the devices that are away. */
  watchAway(device_ids: string[]): Promise<void>;
  onError(error: unknown): void;
}

export class WakeDispatcher {
  readonly #parts: DispatcherParts;
  readonly #config: Config;
  readonly #db: Database;
  readonly #task: PeriodicTask;
  /** Devices that are due and not recorded yet, by id. */
  #due = new Map<string, AwayDevice>();
  #flushTimer: NodeJS.Timeout | undefined;
  readonly #sending = new Set<Promise<void>>();
  #isClosed = false;

  constructor(parts: DispatcherParts) {
    this.#parts = parts;
    this.#config = parts.config;
    this.#db = parts.db;
    this.#task = startPeriodicTask(() => this.#runRound(), { everyMs: CLAIM_EVERY_MS, onError: parts.onError });
  }

  /** Records that the device is due, after PUSH_DELAY_MS. */
  add(device: AwayDevice): void {
    this.#due.set(device.device_id, device);
    this.#scheduleFlush();
  }

  /** Whether the device is due and not recorded yet. */
  has(device_id: string): boolean {
    return this.#due.has(device_id);
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    clearTimeout(this.#flushTimer);
    await this.#task.close();
    await Promise.all(this.#sending);
  }

  #scheduleFlush(): void {
    if (this.#isClosed) return;
    this.#flushTimer ??= setTimeout(() => {
      this.#flushTimer = undefined;
      void this.#task.run();
    }, this.#config.PUSH_DELAY_MS);
  }

  async #runRound(): Promise<void> {
    clearTimeout(this.#flushTimer);
    this.#flushTimer = undefined;
    try {
      await this.#recordDue();
      await this.#sendClaimed();
    } finally {
      // Devices that were added meanwhile, or could not be recorded.
      if (this.#due.size) this.#scheduleFlush();
    }
  }

  async #recordDue(): Promise<void> {
    if (!this.#due.size) return;
    const devices = this.#due;
    this.#due = new Map();
    try {
      await store.markDue(this.#db, [...devices.values()]);
    } catch (error) {
      for (const [id, device] of devices) if (!this.#due.has(id)) this.#due.set(id, device);
      throw error;
    }
  }

  async #sendClaimed(): Promise<void> {
    const { PUSH_CONCURRENCY } = this.#config;
    while (!this.#isClosed && this.#sending.size < PUSH_CONCURRENCY) {
      const claimed = await store.claimDue(this.#db, PUSH_CONCURRENCY - this.#sending.size);
      if (!claimed.length) return;
      for (const device of claimed) {
        const sending = this.#wake(device)
          .catch(this.#parts.onError)
          .finally(() => this.#sending.delete(sending));
        this.#sending.add(sending);
      }
    }
  }

  async #wake(device: DueDevice): Promise<void> {
    const { device_id, target, online, muted_until, absence, since } = device;
    if (!target || online) return await store.clearSchedule(this.#db, device_id);
    // It connected meanwhile and left again: that is another absence.
    if (absence?.getTime() !== since.getTime()) return await this.#watchAgain(device_id);
    if (muted_until && muted_until.getTime() > Date.now())
      return await store.postponeUntil(this.#db, device_id, muted_until);
    if (!(await this.#parts.hasWakingItem(device))) return await this.#watchAgain(device_id);
    const result = await this.#send(device, target);
    if (result.is === 'dead') return await store.removeTarget(this.#db, device);
    const schedule = scheduleAfter(device, result, this.#config);
    await store.saveSchedule(this.#db, device, schedule, result.is === 'ok');
  }

  async #watchAgain(device_id: string): Promise<void> {
    await store.clearSchedule(this.#db, device_id);
    await this.#parts.watchAway([device_id]);
  }

  async #send({ device_id }: DueDevice, target: NonNullable<DueDevice['target']>) {
    const { sender, metrics, log } = this.#parts;
    const begun = performance.now();
    const result = await sender.send(target);
    const ms = Math.round(performance.now() - begun);
    metrics.records.inc({ stage: 'push', outcome: result.is });
    log.info({
      stage: 'push',
      device_id,
      provider: target.provider,
      ms,
      outcome: result.is,
      ...('reason' in result && { reason: result.reason }),
    });
    return result;
  }
}
