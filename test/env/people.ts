/** People and their devices for tests of the edge: real accounts, real sockets. */
import { WebSocket } from 'ws';
import { Device, login, register, Session } from '../../client/index.ts';
import { wsTransport } from '../../client/transports/ws.ts';
import type { InboxGap, MessageStatus, ServerFrame } from '../../shared/contract/frames/server.ts';
import { uuid7 } from '../../shared/ids.ts';
import type { Addresses } from './index.ts';
import { until } from './until.ts';

const PASSWORD = 'correct horse battery staple';

export async function account({ apiUrl }: Addresses): Promise<Session> {
  const username = `u${uuid7().replaceAll('-', '')}`.slice(0, 30);
  return await register({ api: apiUrl, username, password: PASSWORD, device: { name: 'first' } });
}
/** One more device of the same person. */
export async function another(session: Session): Promise<Session> {
  const identifier = session.user.number!;
  return await login({ api: session.api, identifier, password: PASSWORD, device: { name: 'another' } });
}

/** A device that writes down what it gets. */
export class Phone {
  readonly device: Device;
  readonly payloads: string[] = [];
  readonly cursors: number[] = [];
  readonly statuses: MessageStatus[] = [];
  readonly gaps: InboxGap[] = [];
  readonly closes: number[] = [];
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
    this.device.on('close', ({ code }) => void this.closes.push(code));
    this.device.on('error', () => {});
    this.device.on('frame', (frame) => {
      this.frames.push(frame);
      if ('cursor' in frame && frame.type !== 'connection.welcome' && frame.type !== 'inbox.empty')
        this.cursors.push(frame.cursor!);
    });
  }

  get user(): string {
    return this.device.user_id;
  }
  get empties(): number {
    return this.frames.filter(({ type }) => type === 'inbox.empty').length;
  }

  /** Connected and its backlog drained. */
  async up(): Promise<this> {
    const before = this.empties;
    await this.device.connect();
    await until(() => this.empties > before);
    return this;
  }
  async send(to: Phone, payload: string) {
    return await this.device.send({ to: { user_id: to.user }, payload });
  }
}

/** A socket spoken to frame by frame. */
export class Raw {
  readonly socket: WebSocket;
  readonly got: Record<string, unknown>[] = [];
  code: number | undefined;
  reason = '';

  constructor(url: string, headers: Record<string, string>, protocols: string[] = []) {
    this.socket = new WebSocket(url, protocols, { headers, perMessageDeflate: false });
    this.socket.on('message', (data) => void this.got.push(JSON.parse(String(data))));
    this.socket.on('close', (code, reason) => {
      this.code = code;
      this.reason = reason.toString();
    });
    this.socket.on('error', () => {});
  }

  static async open({ edgeUrl }: Pick<Addresses, 'edgeUrl'>, session: Pick<Session, 'access_token'>): Promise<Raw> {
    const raw = new Raw(`${edgeUrl}/v1/ws`, { authorization: `Bearer ${session.access_token}` });
    await until(() => raw.of('inbox.empty').length > 0 || raw.code !== undefined);
    if (raw.code !== undefined && raw.got.length === 0) throw new Error(`closed with ${raw.code}`);
    return raw;
  }

  say(frame: unknown): void {
    this.socket.send(typeof frame === 'string' ? frame : JSON.stringify(frame));
  }
  of(type: string): Record<string, unknown>[] {
    return this.got.filter((frame) => frame.type === type);
  }
  async until(type: string, count = 1): Promise<Record<string, unknown>> {
    await until(() => this.of(type).length >= count);
    return this.of(type)[count - 1]!;
  }
  async closed(): Promise<number> {
    await until(() => this.code !== undefined);
    return this.code!;
  }
}

export const close = async (...phones: Phone[]): Promise<void> => {
  await Promise.all(phones.map(({ device }) => device.close()));
};
/** Payloads that tell which they are. */
export const numbered = (n: number, size = 1): string[] =>
  Array.from({ length: n }, (_, i) => `${i} `.padEnd(size, 'x'));
