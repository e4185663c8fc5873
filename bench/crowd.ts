/** Many devices in this process, by the same library that applications use. */
import { Device } from '../client/index.ts';
import { wsTransport } from '../client/transports/ws.ts';
import type { Account } from './people.ts';

/** Sockets that are opened at once. */
const WIDTH = 64;

export function makeDevice(account: Account, edge: string): Device {
  return new Device({
    session: account,
    edge,
    transport: wsTransport(),
    settings: { outbox_max: 1_000_000, in_flight: 1_000_000, handshake_ms: 60_000 },
  });
}

/** Runs `work` on all of them, a few at a time. */
export async function eachOf<T>(all: T[], work: (one: T) => Promise<unknown>, width = WIDTH): Promise<void> {
  const rest = all[Symbol.iterator]();
  const lane = async (): Promise<void> => {
    for (const one of rest) await work(one);
  };
  await Promise.all(Array.from({ length: width }, lane));
}

/** Connected devices; each has said that its inbox is drained. */
export async function connectAll(accounts: Account[], edge: string): Promise<Device[]> {
  const devices = accounts.map((account) => makeDevice(account, edge));
  await eachOf(devices, (device) => device.connect());
  return devices;
}

export async function closeAll(devices: Device[]): Promise<void> {
  await eachOf(devices, (device) => device.close());
}

export interface Pair {
  from: Device;
  to: Device;
  conversation_id: string;
}

/** Direct conversations: the first half of the devices each with one of the second half, begun by a first message. */
export async function pairUp(devices: Device[]): Promise<Pair[]> {
  const half = devices.length / 2;
  const pairs: Pair[] = [];
  const heads = devices.slice(0, half).map((from, i) => ({ from, to: devices[half + i]! }));
  await eachOf(heads, async ({ from, to }) => {
    const heard = to.next('message');
    const { conversation_id } = await from.send({ to: { user_id: to.user_id }, payload: 'hello' });
    await heard;
    pairs.push({ from, to, conversation_id });
  });
  return pairs;
}
