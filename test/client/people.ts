/** People with devices on the real system, by the client library alone. */
import {
  type Crypto,
  Device,
  type DeviceOptions,
  HpkeCrypto,
  login,
  register,
  type Session,
} from '../../client/index.ts';
import { wsTransport } from '../../client/transports/ws.ts';
import type { Addresses } from '../env/index.ts';

export const PASSWORD = 'correct horse battery';
let people = 0;

export interface Person {
  username: string;
  session: Session;
}

/** A new account with its first device. */
export async function person({ apiUrl }: Addresses): Promise<Person> {
  const username = `person_${process.pid}_${++people}`;
  const session = await register({ api: apiUrl, username, password: PASSWORD, device: { name: 'first' } });
  return { username, session };
}

/** One device more of somebody. */
export const another = ({ username }: Person, { apiUrl }: Addresses): Promise<Session> =>
  login({ api: apiUrl, identifier: username, password: PASSWORD, device: { name: 'another' } });

/** A device and all that it was handed, as text. */
export interface Listener {
  device: Device;
  texts: string[];
  waitForTexts(n: number): Promise<string[]>;
}

export function startListener(
  session: Session,
  { edgeUrl }: Addresses,
  options: Partial<DeviceOptions> = {},
): Listener {
  const device = new Device({ session, edge: edgeUrl, transport: wsTransport(), ...options });
  const texts: string[] = [];
  device.on('message', ({ message, plaintext, error }) => {
    texts.push(plaintext ? new TextDecoder().decode(plaintext) : (error?.code ?? message.payload ?? ''));
  });
  return {
    device,
    texts,
    async waitForTexts(n) {
      while (texts.length < n) await device.next('message');
      return texts;
    },
  };
}

export const sealing = (): Promise<Crypto> => HpkeCrypto.generate();
