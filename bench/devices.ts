/** Runs many devices in this process, with the same client library that applications use. */
import { Device } from '../client/index.ts';
import { wsTransport } from '../client/transports/ws.ts';
import type { Account } from './accounts.ts';

/** Devices that connect or close at once. */
const CONCURRENCY = 64;

export function createDevice(account: Account, edge: string): Device {
  return new Device({
    session: account,
    edge,
    transport: wsTransport(),
    settings: { outbox_max: 1_000_000, in_flight: 1_000_000, handshake_ms: 60_000 },
  });
}

/** Runs `task` for every item, at most `concurrency` at a time. */
export async function forEachConcurrently<T>(
  items: T[],
  task: (item: T) => Promise<unknown>,
  concurrency = CONCURRENCY,
): Promise<void> {
  // The runners share one iterator, so that each item is taken once.
  const iterator = items[Symbol.iterator]();
  const run = async (): Promise<void> => {
    for (const item of iterator) await task(item);
  };
  await Promise.all(Array.from({ length: concurrency }, run));
}

/** Connects a device for each account. */
export async function connectAll(accounts: Account[], edge: string): Promise<Device[]> {
  const devices = accounts.map((account) => createDevice(account, edge));
  await forEachConcurrently(devices, (device) => device.connect());
  return devices;
}

export async function closeAll(devices: Device[]): Promise<void> {
  await forEachConcurrently(devices, (device) => device.close());
}

export interface Pair {
  from: Device;
  to: Device;
  conversation_id: string;
}

/** Starts direct conversations: each device of the first half sends a first message to one of the second half. */
export async function pairUp(devices: Device[]): Promise<Pair[]> {
  const half = devices.length / 2;
  const pairs: Pair[] = [];
  const partners = devices.slice(0, half).map((from, i) => ({ from, to: devices[half + i]! }));
  await forEachConcurrently(partners, async ({ from, to }) => {
    const received = to.next('message');
    const { conversation_id } = await from.send({ to: { user_id: to.user_id }, payload: 'hello' });
    await received;
    pairs.push({ from, to, conversation_id });
  });
  return pairs;
}
