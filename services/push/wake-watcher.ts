/**
 * Watches devices that are away until the first item that wakes them. Each of their users has one core subscription to the
 * items republished from the inbox, so users who are connected, or were woken, cost nothing. What came before the
 * subscription was made, or while no push process ran, is found by one check of the backlog after subscribing.
 */
import type { Msg, NatsConnection, Subscription } from 'nats';
import type { Logger } from 'pino';
import { pendingItems } from '../../nats/inbox/backlog.ts';
import { ALL_DEVICES, lastToken, SIGNAL, subject } from '../../nats/topology.ts';
import type { Config } from '../../shared/config/index.ts';
import type { AwayDevice } from './away-device.ts';
import { isWakingItem } from './handle.ts';

interface WatchedUser {
  subscription: Subscription;
  devices: Map<string, AwayDevice>;
}
const CONCURRENT_CHECKS = 64;
const RETRY_MS = 1_000;

export class WakeWatcher {
  readonly #nc: NatsConnection;
  readonly #config: Config;
  readonly #log: Logger;
  readonly #onDue: (device: AwayDevice) => void;
  readonly #users = new Map<string, WatchedUser>();
  /** User of each watched device. */
  readonly #owners = new Map<string, string>();
  /** Devices whose backlog is not checked yet, the newest last: it is checked first. */
  #unchecked: AwayDevice[] = [];
  #checks = 0;

  /** `onDue`: something waits for the device; it is not watched any more. */
  constructor(nc: NatsConnection, config: Config, log: Logger, onDue: (device: AwayDevice) => void) {
    this.#nc = nc;
    this.#config = config;
    this.#log = log;
    this.#onDue = onDue;
  }

  /** Watches a device. */
  add(device: AwayDevice): void {
    const { user_id, device_id, since } = device;
    const known = this.#users.get(user_id);
    if (known?.devices.get(device_id)?.since.getTime() === since.getTime()) return;
    this.#owners.set(device_id, user_id);
    if (known) known.devices.set(device_id, device);
    else {
      const user: WatchedUser = { devices: new Map([[device_id, device]]), subscription: undefined as never };
      user.subscription = this.#nc.subscribe(subject.live(user_id, this.#config.INBOX_SHARDS), {
        callback: (error, message) => void (error || this.#handleItem(user, message)),
      });
      this.#users.set(user_id, user);
    }
    this.#unchecked.push(device);
    this.#startChecks();
  }

  /** Stops watching a device: it has connected. */
  remove(device_id: string): void {
    const user_id = this.#owners.get(device_id);
    if (user_id === undefined) return;
    this.#owners.delete(device_id);
    const user = this.#users.get(user_id);
    if (!user?.devices.delete(device_id) || user.devices.size) return;
    this.#users.delete(user_id);
    user.subscription.unsubscribe();
  }

  close(): void {
    for (const { subscription } of this.#users.values()) subscription.unsubscribe();
    this.#users.clear();
    this.#owners.clear();
    this.#unchecked = [];
  }

  /** Whether anything after the device's cursor is worth a wake-up. */
  async hasWakingItem(device: AwayDevice): Promise<boolean> {
    for await (const { data } of pendingItems(this.#nc, this.#config, device, device.cursor))
      if (isWakingItem(Buffer.from(data), device.user_id, Date.now())) return true;
    return false;
  }

  #handleItem({ devices }: WatchedUser, { subject: to, data }: Msg): void {
    const target = lastToken(to);
    if (target === SIGNAL) return;
    const bytes = Buffer.from(data.buffer, data.byteOffset, data.length);
    for (const device of [...devices.values()]) {
      const isAddressed = target === ALL_DEVICES || target === device.device_id;
      if (isAddressed && isWakingItem(bytes, device.user_id, Date.now())) this.#reportDue(device);
    }
  }

  #reportDue(device: AwayDevice): void {
    this.remove(device.device_id);
    this.#onDue(device);
  }

  #isWatched(device: AwayDevice): boolean {
    return this.#users.get(device.user_id)?.devices.get(device.device_id) === device;
  }

  #startChecks(): void {
    while (this.#checks < CONCURRENT_CHECKS && this.#unchecked.length) {
      const device = this.#unchecked.pop()!;
      if (!this.#isWatched(device)) continue;
      this.#checks++;
      void this.#check(device).finally(() => {
        this.#checks--;
        this.#startChecks();
      });
    }
  }

  async #check(device: AwayDevice): Promise<void> {
    try {
      if ((await this.hasWakingItem(device)) && this.#isWatched(device)) this.#reportDue(device);
    } catch (error) {
      this.#log.warn({ stage: 'push', reason: String(error) }, 'a backlog could not be checked, trying again');
      setTimeout(() => {
        this.#unchecked.push(device);
        this.#startChecks();
      }, RETRY_MS).unref();
    }
  }
}
