/**
 * Simulates people who talk, in pairs and groups. Some people have two devices, and some devices disconnect and come back
 * again and again. All of them use the client library, and the journal records everything that they send and receive.
 */
import { randomBytes } from 'node:crypto';
import { type DeviceSettings, login, register } from '../../client/index.ts';
import { sleep } from '../../shared/async/sleep.ts';
import { directConversationId } from '../../shared/ids.ts';
import { FleetDevice, type Target } from './fleet-device.ts';
import type { Journal } from './journal.ts';

export interface FleetShape {
  pairs: number;
  groups: number;
  groupSize: number;
  /** Number of people who have a second device. */
  secondDevices: number;
  /** Number of devices that disconnect and come back, again and again. */
  wanderers: number;
  /** Messages that all devices together send each second. */
  rate: number;
  payloadBytes: number;
  /** A device with this many unanswered messages sends no more, as a person would wait. */
  inFlight: number;
}
export const DEFAULT_SHAPE: FleetShape = {
  ...{ pairs: 8, groups: 3, groupSize: 5, secondDevices: 4, wanderers: 4 },
  ...{ rate: 200, payloadBytes: 300, inFlight: 400 },
};

export interface FleetAddresses {
  api: string;
  edge: string;
}

const PASSWORD = 'correct horse battery';
/** Interval at which due messages are sent. */
const TICK_MS = 20;
/** Time that devices which are disconnected at the end of the load have to come back. */
const RETURN_TIMEOUT_MS = 30_000;
/** Pairs that register at once. */
const CONCURRENT_PAIRS = 16;
let personCount = 0;
const pickRandom = <T>(items: readonly T[]): T => items[Math.floor(Math.random() * items.length)]!;

export class Fleet {
  readonly devices: FleetDevice[] = [];
  /** Device id → user id, for the checker. */
  readonly userOfDevice = new Map<string, string>();
  /** Conversation id → user ids, for the checker. */
  readonly members = new Map<string, readonly string[]>();
  readonly journal: Journal;
  /** Messages that all devices together send each second. */
  rate: number;
  readonly #addresses: FleetAddresses;
  readonly #shape: FleetShape;
  #loadTimer: NodeJS.Timeout | undefined;
  #wandering: Promise<void>[] = [];
  #isLoading = false;

  constructor(journal: Journal, addresses: FleetAddresses, shape: Partial<FleetShape> = {}) {
    this.journal = journal;
    this.#addresses = addresses;
    this.#shape = { ...DEFAULT_SHAPE, ...shape };
    this.rate = this.#shape.rate;
  }

  /** Registers the people, creates the groups and connects all devices. */
  async connectAll(): Promise<void> {
    const { pairs, groups, groupSize, secondDevices } = this.#shape;
    for (let remaining = pairs; remaining > 0; remaining -= CONCURRENT_PAIRS) {
      const batch = Array.from({ length: Math.min(remaining, CONCURRENT_PAIRS) }, async () => {
        const [a, b] = await Promise.all([this.addPerson(), this.addPerson()]);
        this.addConversation(a, b);
      });
      await Promise.all(batch);
    }
    for (const device of this.devices.slice(0, secondDevices)) await this.addSecondDevice(device);
    for (let i = 0; i < groups; i++) await this.#createGroup(groupSize);
    await Promise.all(this.devices.map((device) => device.connect()));
  }

  /** Registers a person with one device, which is not yet connected. */
  async addPerson(addresses = this.#addresses, settings: Partial<DeviceSettings> = {}): Promise<FleetDevice> {
    const username = `fault_${process.pid}_${Date.now().toString(36)}_${++personCount}`;
    const session = await register({ api: addresses.api, username, password: PASSWORD, device: { name: 'one' } });
    session.user.username = username;
    return this.#add(new FleetDevice(this.journal, session, addresses.edge, settings));
  }

  /** Adds a second device of the same person, with the same conversations. */
  async addSecondDevice(first: FleetDevice): Promise<FleetDevice> {
    const identifier = first.session.user.username!;
    const { api, edge } = this.#addresses;
    const session = await login({ api, identifier, password: PASSWORD, device: { name: 'two' } });
    session.user.username = identifier;
    const second = this.#add(new FleetDevice(this.journal, session, edge));
    second.targets.push(...first.targets);
    return second;
  }

  /** Lets two people send to each other. @returns the conversation as a target of the first */
  addConversation(a: FleetDevice, b: FleetDevice): Target {
    const conversation = directConversationId(a.userId, b.userId);
    this.members.set(conversation, [a.userId, b.userId]);
    a.targets.push({ conversation, to: b.userId });
    b.targets.push({ conversation, to: a.userId });
    return a.targets.at(-1)!;
  }

  createPayload(bytes = this.#shape.payloadBytes): string {
    return randomBytes(Math.ceil((bytes * 3) / 4)).toString('base64');
  }

  /** Starts to send `rate` messages a second from random devices, and lets the wanderers disconnect and come back. */
  startLoad(): void {
    this.journal.mark('load');
    this.#isLoading = true;
    let due = 0;
    let lastTick = performance.now();
    this.#loadTimer = setInterval(() => {
      const now = performance.now();
      due = Math.min(due + ((now - lastTick) / 1_000) * this.rate, this.rate);
      lastTick = now;
      for (; due >= 1; due--) {
        const device = pickRandom(this.devices);
        if (device.targets.length && device.pending < this.#shape.inFlight)
          void device.send(pickRandom(device.targets), this.createPayload());
      }
    }, TICK_MS);
    const wanderers = this.devices.slice(-this.#shape.wanderers || this.devices.length);
    this.#wandering = wanderers.map((device) => this.#wander(device));
  }

  /** Ends the load. Resolves when every wanderer is connected again. @throws when one does not come back */
  async stopLoad(): Promise<void> {
    this.#endLoad();
    const timeout = sleep(RETURN_TIMEOUT_MS, { ref: false }).then(() =>
      Promise.reject(new Error(`a device was still disconnected ${RETURN_TIMEOUT_MS} ms after the load`)),
    );
    await Promise.race([Promise.all(this.#wandering), timeout]);
  }

  async close(): Promise<void> {
    this.#endLoad();
    let hasSettled = false;
    const wandering = Promise.allSettled(this.#wandering).then(() => {
      hasSettled = true;
    });
    // A wanderer may be connecting to a system that never comes back, so all are disconnected until none connects.
    do {
      await Promise.all(this.devices.map((device) => device.disconnect(false)));
      await Promise.race([wandering, sleep(200)]);
    } while (!hasSettled);
    await Promise.all(this.devices.map((device) => device.disconnect(false)));
  }

  #endLoad(): void {
    clearInterval(this.#loadTimer);
    if (this.#isLoading) this.journal.mark('end');
    this.#isLoading = false;
  }

  #add(device: FleetDevice): FleetDevice {
    this.devices.push(device);
    this.userOfDevice.set(device.id, device.userId);
    return device;
  }

  /** Creates a group of random people. */
  async #createGroup(size: number): Promise<void> {
    const people = [...new Map(this.devices.map((device) => [device.userId, device])).values()];
    const [owner, ...others] = people.sort(() => Math.random() - 0.5).slice(0, size);
    const member_ids = others.map(({ userId }) => userId);
    const { id } = await owner!.session.call<{ id: string }>('POST', '/v1/conversations', {
      type: 'group',
      name: 'faults',
      member_ids,
    });
    const users = [owner!.userId, ...member_ids];
    this.members.set(id, users);
    for (const device of this.devices) if (users.includes(device.userId)) device.targets.push({ conversation: id });
  }

  /** Disconnects a device and connects it again until the load ends. Every second time its application is restarted. */
  async #wander(device: FleetDevice): Promise<void> {
    for (let restart = false; this.#isLoading; restart = !restart) {
      await sleep(300 + Math.random() * 1_200);
      await device.disconnect(restart);
      await sleep(300 + Math.random() * 1_500);
      await device.connect();
    }
  }
}
