/**
 * Makes durable consumers for devices that are offline and deletes those of devices that are live. Operators see by them
 * which devices are behind (`nats consumer report INBOX_00`). A durable is made a while after the connection closed. The
 * last task of a device counts. Tasks run at a bounded rate, since each durable makes publishing to its shard slower.
 */

import type { NatsConnection } from 'nats';
import type { Logger } from 'pino';
import type { DeviceAddress } from '../../../nats/inbox/backlog.ts';
import { sequenceOf } from '../../../nats/inbox/cursor-map.ts';
import { LruMap } from '../../../shared/async/lru-map.ts';
import { type PeriodicTask, startPeriodicTask } from '../../../shared/async/periodic-task.ts';
import type { Config } from '../../../shared/config/index.ts';
import { shardOf } from '../../../shared/ids.ts';
import type { CursorMaps } from './cursor-maps.ts';
import type { DeviceConsumers } from './device-consumers.ts';

interface Task extends DeviceAddress {
  dueAt: number;
  /** The durable is to begin after this cursor; undefined when it is to be deleted. */
  cursor: number | undefined;
}
const TICK_MS = 100;
const TASKS_PER_TICK = 20;
const MAX_RUNNING = 4 * TASKS_PER_TICK;

interface SchedulerOptions {
  nc: Pick<NatsConnection, 'isClosed'>;
  log: Logger;
  config: Pick<Config, 'AWAY_GRACE_MS' | 'AWAY_MAX_WAITING' | 'INBOX_SHARDS' | 'MAX_REMOVED_DEVICES'>;
  consumers: DeviceConsumers;
  cursorMaps: CursorMaps;
  /** Devices that are connected to this edge, by id. */
  connected: { has(device_id: string): boolean };
  /** The device got a durable here, though it may be connected to another edge by now, which then deletes it. */
  onDurableMade(device: DeviceAddress): void;
}

export class ConsumerScheduler {
  readonly #options: SchedulerOptions;
  readonly #ticks: PeriodicTask;
  /** Deletions are due at once, creations after the grace time; each kind is kept in the order in which it is due. */
  readonly #deletions = new Map<string, Task>();
  readonly #creations = new Map<string, Task>();
  readonly #running = new Map<string, Promise<void>>();
  /** Devices that were deleted lately: they get no durable any more. */
  readonly #deletedDevices: LruMap<string, true>;

  constructor(options: SchedulerOptions) {
    this.#options = options;
    this.#deletedDevices = new LruMap(options.config.MAX_REMOVED_DEVICES);
    this.#ticks = startPeriodicTask(() => this.#runDueTasks(), {
      everyMs: TICK_MS,
      onError: (error) => options.log.error({ unit: 'consumer-scheduler', err: error }),
    });
  }

  /** Schedules a durable for a device whose connection has closed, with what comes after `cursor`. */
  scheduleCreation({ user_id, device_id }: DeviceAddress, cursor: number): void {
    const { AWAY_GRACE_MS, AWAY_MAX_WAITING } = this.#options.config;
    this.#deletions.delete(device_id);
    if (cursor < 0 || this.#creations.size >= AWAY_MAX_WAITING || this.#deletedDevices.get(device_id)) return;
    // Deleted first, so that the map stays in the order of `dueAt`.
    this.#creations.delete(device_id);
    this.#creations.set(device_id, { user_id, device_id, cursor, dueAt: Date.now() + AWAY_GRACE_MS });
  }

  /** Schedules the deletion of the durable of a device that is live and needs none. */
  scheduleDeletion({ user_id, device_id }: DeviceAddress): void {
    this.#creations.delete(device_id);
    if (this.#deletions.size >= this.#options.config.AWAY_MAX_WAITING) return;
    this.#deletions.set(device_id, { user_id, device_id, cursor: undefined, dueAt: 0 });
  }

  /** Cancels the tasks of a device. Resolves when none of them touches the device's durable any more. */
  async cancelTasks({ device_id }: DeviceAddress): Promise<void> {
    this.#creations.delete(device_id);
    this.#deletions.delete(device_id);
    await this.#running.get(device_id);
  }

  /** Forgets a deleted device. The api deletes its durable; a durable that is being made here is deleted here. */
  forgetDevice(device: DeviceAddress): void {
    this.#deletedDevices.set(device.device_id, true);
    this.#creations.delete(device.device_id);
    this.#deletions.delete(device.device_id);
    void this.#running.get(device.device_id)?.then(() => this.scheduleDeletion(device));
  }

  async close(): Promise<void> {
    this.#deletions.clear();
    this.#creations.clear();
    await this.#ticks.close();
  }

  #runDueTasks(): void {
    if (this.#options.nc.isClosed() || this.#running.size > MAX_RUNNING) return;
    const now = Date.now();
    let budget = TASKS_PER_TICK;
    for (const tasks of [this.#deletions, this.#creations]) {
      for (const [device_id, task] of tasks) {
        if (budget === 0 || task.dueAt > now) break;
        if (this.#running.has(device_id)) continue;
        budget--;
        tasks.delete(device_id);
        const run = this.#runTask(task)
          .catch((error: unknown) =>
            this.#options.log.warn(
              { unit: 'consumer-scheduler', device_id, reason: String(error) },
              'the durable of a device could not be made or deleted; it stays as it is',
            ),
          )
          .finally(() => this.#running.delete(device_id));
        this.#running.set(device_id, run);
      }
    }
  }

  async #runTask(task: Task): Promise<void> {
    const { consumers, cursorMaps, config, connected, onDurableMade } = this.#options;
    if (task.cursor === undefined) return await consumers.deleteDurable(task);
    const cursorMap = cursorMaps.get(shardOf(task.user_id, config.INBOX_SHARDS));
    if (!cursorMap || connected.has(task.device_id)) return;
    await consumers.ensureDurable(task, sequenceOf(cursorMap, task.cursor).seq + 1);
    onDurableMade(task);
  }
}
