/** People and their devices for tests of the edge: real accounts, real sockets. */
import { WebSocket } from 'ws';
import { Device, login, register, Session } from '../../client/index.ts';
import { wsTransport } from '../../client/transports/ws.ts';
import type { InboxGap, MessageStatus, ServerFrame } from '../../shared/contract/frames/server.ts';
import { uuid7 } from '../../shared/ids.ts';
import type { Addresses } from './index.ts';
import { until } from './until.ts';

const PASSWORD = 'correct horse battery staple';

export async function registerPerson({ apiUrl }: Addresses): Promise<Session> {
  const username = `u${uuid7().replaceAll('-', '')}`.slice(0, 30);
  return await register({ api: apiUrl, username, password: PASSWORD, device: { name: 'first' } });
}
/** One more device of the same person. */
export async function addDevice(session: Session): Promise<Session> {
  const identifier = session.user.number!;
  return await login({ api: session.api, identifier, password: PASSWORD, device: { name: 'another' } });
}

/** A device that writes down what it gets. */
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

  /** Connected and its backlog drained. */
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

/** A socket spoken to frame by frame. */
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

  static async open(
    { edgeUrl }: Pick<Addresses, 'edgeUrl'>,
    session: Pick<Session, 'access_token'>,
  ): Promise<TestSocket> {
    const raw = new TestSocket(`${edgeUrl}/v1/ws`, { authorization: `Bearer ${session.access_token}` });
    await until(() => raw.framesOf('inbox.empty').length > 0 || raw.closeCode !== undefined);
    if (raw.closeCode !== undefined && raw.frames.length === 0) throw new Error(`closed with ${raw.closeCode}`);
    return raw;
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

export const closeDevices = async (...phones: TestDevice[]): Promise<void> => {
  await Promise.all(phones.map(({ device }) => device.close()));
};
/** Payloads that tell which they are. */
export const numberedPayloads = (n: number, size = 1): string[] =>
  Array.from({ length: n }, (_, i) => `${i} `.padEnd(size, 'x'));
