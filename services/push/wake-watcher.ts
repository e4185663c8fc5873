/**
 * Devices that are away and were not woken yet. Each of their people has one core subscription to what is republished from
 * the inbox, until the first item that wakes; so people who are connected, or were woken, cost nothing. What came before
 * the subscription stood, or while nobody listened, is found by one look at the backlog, taken after subscribing.
 */

import type { Msg, NatsConnection, Subscription } from 'nats';
import type { Logger } from 'pino';
import { pendingItems } from '../../nats/inbox/backlog.ts';
import { lastToken, subject } from '../../nats/topology.ts';
import type { Config } from '../../shared/config/index.ts';
import { wakes } from './handle.ts';
import type { Away } from './store.ts';

interface Person {
  subscription: Subscription;
  devices: Map<string, Away>;
}
const LOOKS = 64;
const AGAIN_MS = 1_000;

export class WakeWatcher {
  readonly #nc: NatsConnection;
  readonly #config: Config;
  readonly #log: Logger;
  readonly #due: (device: Away) => void;
  readonly #people = new Map<string, Person>();
  readonly #owners = new Map<string, string>();
  #waiting: Away[] = [];
  #looking = 0;

  /** `due`: something waits for the device; it is watched no more. */
  constructor(nc: NatsConnection, config: Config, log: Logger, due: (device: Away) => void) {
    this.#nc = nc;
    this.#config = config;
    this.#log = log;
    this.#due = due;
  }

  get size(): number {
    return this.#people.size;
  }

  add(device: Away): void {
    const known = this.#people.get(device.user_id);
    const before = known?.devices.get(device.device_id);
    if (before?.since.getTime() === device.since.getTime()) return;
    this.#owners.set(device.device_id, device.user_id);
    if (known) known.devices.set(device.device_id, device);
    else {
      const { user_id } = device;
      const person: Person = { devices: new Map([[device.device_id, device]]), subscription: undefined as never };
      person.subscription = this.#nc.subscribe(subject.live(user_id, this.#config.INBOX_SHARDS), {
        callback: (error, message) => void (error || this.#hear(person, message)),
      });
      this.#people.set(user_id, person);
    }
    this.#waiting.push(device);
    this.#next();
  }

  /** It is here again, or was woken. */
  remove({ user_id, device_id }: Pick<Away, 'user_id' | 'device_id'>): void {
    const person = this.#people.get(user_id);
    this.#owners.delete(device_id);
    if (!person?.devices.delete(device_id) || person.devices.size) return;
    this.#people.delete(user_id);
    person.subscription.unsubscribe();
  }
  removeDevice(device_id: string): void {
    const user_id = this.#owners.get(device_id);
    if (user_id) this.remove({ user_id, device_id });
  }
  clear(): void {
    for (const { subscription } of this.#people.values()) subscription.unsubscribe();
    this.#people.clear();
    this.#owners.clear();
    this.#waiting = [];
  }

  #hear({ devices }: Person, { subject: to, data }: Msg): void {
    const target = lastToken(to);
    if (target === 'signal') return;
    const bytes = Buffer.from(data.buffer, data.byteOffset, data.length);
    for (const device of [...devices.values()]) {
      if ((target !== 'all' && target !== device.device_id) || !wakes(bytes, device.user_id, Date.now())) continue;
      this.remove(device);
      this.#due(device);
    }
  }

  #next(): void {
    while (this.#looking < LOOKS && this.#waiting.length) {
      const device = this.#waiting.pop()!;
      if (this.#people.get(device.user_id)?.devices.get(device.device_id) !== device) continue;
      this.#looking++;
      this.waits(device)
        .then((waits) => {
          if (!waits || this.#people.get(device.user_id)?.devices.get(device.device_id) !== device) return;
          this.remove(device);
          this.#due(device);
        })
        .catch((error: unknown) => {
          this.#log.warn({ stage: 'push', reason: String(error) }, 'a backlog is looked at again soon');
          setTimeout(() => {
            this.#waiting.push(device);
            this.#next();
          }, AGAIN_MS).unref();
        })
        .finally(() => {
          this.#looking--;
          this.#next();
        });
    }
  }

  /** Whether anything after the device's cursor is worth a wake-up. */
  async waits(device: Away): Promise<boolean> {
    for await (const { data } of pendingItems(this.#nc, this.#config, device, device.cursor))
      if (wakes(Buffer.from(data), device.user_id, Date.now())) return true;
    return false;
  }
}
