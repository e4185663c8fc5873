/** People, their devices and sockets, made over the public API with the client library. What one suite needs beyond this builds on it. */
import { WebSocket } from 'ws';
import { Device, type DeviceOptions, login, register, Session } from '../../client/index.ts';
import { wsTransport } from '../../client/transports/ws.ts';
import type { InboxGap, MessageStatus, ServerFrame } from '../../shared/contract/frames/server.ts';
import { uuid7 } from '../../shared/ids.ts';
import type { Addresses, Env } from './index.ts';
import { until } from './until.ts';

/** The password of everybody who is registered here or by `Api.register`. */
export const PASSWORD = 'correct horse';
let usernames = 0;
export const createUsername = (): string => `person_${process.pid}_${++usernames}`;

/** Creates an account with its first device, named `first`. */
export const registerPerson = ({ apiUrl }: Pick<Addresses, 'apiUrl'>): Promise<Session> =>
  register({ api: apiUrl, username: createUsername(), password: PASSWORD, device: { name: 'first' } });

/** Logs the same person in on one more device, named `another`. */
export const addDevice = (session: Session): Promise<Session> =>
  login({ api: session.api, identifier: session.user.number!, password: PASSWORD, device: { name: 'another' } });

/** Opens the direct conversation of two people. @returns its id */
export const openConversation = async (from: Session, to: Session): Promise<string> =>
  (await from.call<{ id: string }>('POST', '/v1/conversations/direct', { user_id: to.user.id })).id;

/** Gets a ticket that opens one socket. */
export const issueTicket = async (session: Session): Promise<string> =>
  (await session.call<{ ticket: string }>('POST', '/v1/ws/tickets')).ticket;

export interface PersonRow {
  user: string;
  device: string;
}
/** Writes a person with one device straight into Postgres, for systems without an api. */
export async function insertPerson(env: Pick<Env, 'db'>): Promise<PersonRow> {
  const [user, device] = [uuid7(), uuid7()];
  const number = String(10_000_000 + Math.floor(Math.random() * 89_999_999));
  await env.db.query('insert into users (id, number) values ($1, $2)', [user, number]);
  await env.db.query("insert into devices (id, user_id, name, platform) values ($1, $2, 'one', 'test')", [
    device,
    user,
  ]);
  return { user, device };
}

/** A device that records everything that it gets. */
export class TestDevice {
  readonly device: Device;
  readonly payloads: string[] = [];
  readonly cursors: number[] = [];
  readonly statuses: MessageStatus[] = [];
  readonly gaps: InboxGap[] = [];
  readonly closeCodes: number[] = [];
  readonly frames: ServerFrame[] = [];

  constructor(session: Session, edgeUrl: string) {
    this.device = new Device({
      session: new Session(session.toJSON()),
      edge: edgeUrl,
      transport: wsTransport(),
      settings: { backoff_base_ms: 20, backoff_cap_ms: 200 },
    });
    this.device.on('message', ({ message }) => void this.payloads.push(message.payload ?? ''));
    this.device.on('status', (status) => void this.statuses.push(status));
    this.device.on('gap', (gap) => void this.gaps.push(gap));
    this.device.on('close', ({ code }) => void this.closeCodes.push(code));
    this.device.on('error', () => {});
    this.device.on('frame', (frame) => {
      this.frames.push(frame);
      if ('cursor' in frame && frame.type !== 'connection.welcome' && frame.type !== 'inbox.empty')
        this.cursors.push(frame.cursor!);
    });
  }

  get userId(): string {
    return this.device.user_id;
  }
  get emptyCount(): number {
    return this.frames.filter(({ type }) => type === 'inbox.empty').length;
  }

  /** Registers a person and returns the device, not connected yet. */
  static async register(at: Addresses): Promise<TestDevice> {
    return new TestDevice(await registerPerson(at), at.edgeUrl);
  }

  /** Connects and resolves once the backlog is drained. */
  async connect(): Promise<this> {
    const before = this.emptyCount;
    await this.device.connect();
    await until(() => this.emptyCount > before);
    return this;
  }
  async send(to: TestDevice, payload: string) {
    return await this.device.send({ to: { user_id: to.userId }, payload });
  }
}

/** A socket that a test speaks to frame by frame. */
export class TestSocket {
  readonly socket: WebSocket;
  readonly frames: Record<string, unknown>[] = [];
  closeCode: number | undefined;
  closeReason = '';

  constructor(url: string, headers: Record<string, string>, protocols: string[] = []) {
    this.socket = new WebSocket(url, protocols, { headers, perMessageDeflate: false });
    this.socket.on('message', (data) => void this.frames.push(JSON.parse(String(data))));
    this.socket.on('close', (code, reason) => {
      this.closeCode = code;
      this.closeReason = reason.toString();
    });
    this.socket.on('error', () => {});
  }

  /** Opens a socket with an access token and resolves once the backlog is drained or the socket is closed. */
  static async open(
    { edgeUrl }: Pick<Addresses, 'edgeUrl'>,
    session: Pick<Session, 'access_token'>,
  ): Promise<TestSocket> {
    const socket = new TestSocket(`${edgeUrl}/v1/ws`, { authorization: `Bearer ${session.access_token}` });
    await until(() => socket.framesOf('inbox.empty').length > 0 || socket.closeCode !== undefined);
    if (socket.closeCode !== undefined && socket.frames.length === 0)
      throw new Error(`closed with ${socket.closeCode}`);
    return socket;
  }

  send(frame: unknown): void {
    this.socket.send(typeof frame === 'string' ? frame : JSON.stringify(frame));
  }
  framesOf(type: string): Record<string, unknown>[] {
    return this.frames.filter((frame) => frame.type === type);
  }
  async waitFor(type: string, count = 1): Promise<Record<string, unknown>> {
    await until(() => this.framesOf(type).length >= count);
    return this.framesOf(type)[count - 1]!;
  }
  async waitForClose(): Promise<number> {
    await until(() => this.closeCode !== undefined);
    return this.closeCode!;
  }
}

export const closeDevices = async (...devices: { device: Device }[]): Promise<void> => {
  await Promise.all(devices.map(({ device }) => device.close()));
};
/** @returns `n` payloads, each beginning with its number and padded to `size` */
export const numberedPayloads = (n: number, size = 1): string[] =>
  Array.from({ length: n }, (_, i) => `${i} `.padEnd(size, 'x'));

/** A device that records the texts of its messages: decrypted where it has keys, else the payload or the code of the error. */
export interface Listener {
  device: Device;
  texts: string[];
  waitForTexts(n: number): Promise<string[]>;
}

/** Makes a listener, not connected yet, on the session itself: tokens that it refreshes are seen there. */
export function createListener(
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
