/** Runs one device of the fleet with the client library, and records in the journal what it sends, is told and receives. */
import { Device, type DeviceSettings, MemoryStore, SealwireError, type Session } from '../../client/index.ts';
import { wsTransport } from '../../client/transports/ws.ts';
import { uuid7 } from '../../shared/ids.ts';
import { hashOf, type Journal } from './journal.ts';

export interface Target {
  conversation: string;
  /** The other person of a direct conversation. */
  to?: string;
}

export class FleetDevice {
  readonly session: Session;
  /** The conversations to which this device sends. */
  readonly targets: Target[] = [];
  /** Messages that came again under another cursor. A client that only compares cursors takes them for new ones. */
  repeatCount = 0;
  readonly #journal: Journal;
  #edge: string;
  readonly #store = new MemoryStore();
  /** Message id → cursor under which the edge sent it to this device. */
  readonly #cursors = new Map<string, number>();
  readonly #settings: Partial<DeviceSettings>;
  #device: Device;

  constructor(journal: Journal, session: Session, edge: string, settings: Partial<DeviceSettings> = {}) {
    this.session = session;
    this.#journal = journal;
    this.#edge = edge;
    this.#settings = { backoff_base_ms: 50, backoff_cap_ms: 1_000, silence_ms: 2_000, ...settings };
    this.#device = this.#createDevice();
  }

  get id(): string {
    return this.session.device.id;
  }
  get userId(): string {
    return this.session.user.id;
  }
  get connected(): boolean {
    return this.#device.connected;
  }
  get pending(): number {
    return this.#device.pending;
  }

  connect(): Promise<void> {
    return this.#device.connect();
  }

  /** Disconnects. @param restart replaces the Device, like an application that is started again with its stored state */
  async disconnect(restart: boolean): Promise<void> {
    await this.#device.close();
    this.#journal.add({ kind: 'close', device: this.id, detail: 'left' });
    if (restart) this.#device = this.#createDevice();
  }

  /** Connects to another edge from now on. The device must be disconnected. */
  switchEdge(edge: string): void {
    this.#edge = edge;
    this.#device = this.#createDevice();
  }

  /** Sends a message. Resolves once it is acknowledged or refused. */
  send(target: Target, payload: string, client_message_id: string = uuid7()): Promise<void> {
    const { conversation, to } = target;
    const message = { device: this.id, client_message_id };
    this.#journal.add({ kind: 'send', ...message, conversation, hash: hashOf(payload) });
    const address = to === undefined ? { conversation_id: conversation } : { to: { user_id: to } };
    return this.#device.send({ ...address, payload, client_message_id }).then(
      ({ message_id, conversation_id, seq }) =>
        this.#journal.add({ kind: 'queued', ...message, message_id, conversation: conversation_id, seq }),
      (error: unknown) => {
        const code = error instanceof SealwireError ? error.code : 'internal';
        this.#journal.add({ kind: 'refused', ...message, code });
      },
    );
  }

  #createDevice(): Device {
    const device = new Device({
      session: this.session,
      edge: this.#edge,
      transport: wsTransport(),
      store: this.#store,
      settings: this.#settings,
    });
    this.#recordConnection(device);
    this.#recordFrames(device);
    this.#recordMessages(device);
    return device;
  }

  #recordConnection(device: Device): void {
    const journal = this.#journal;
    const { id } = this;
    device.on('open', ({ epoch, cursor }) => journal.add({ kind: 'open', device: id, detail: `${epoch} ${cursor}` }));
    device.on('close', ({ code, reason }) => journal.add({ kind: 'close', device: id, detail: `${code} ${reason}` }));
  }

  /** Records cursors that do not rise, messages that come again, and requests to wait. */
  #recordFrames(device: Device): void {
    const journal = this.#journal;
    const { id } = this;
    let lastCursor = -1;
    device.on('frame', (frame) => {
      if (frame.type === 'connection.welcome') lastCursor = -1;
      else if ('cursor' in frame && frame.type !== 'inbox.empty' && frame.cursor !== undefined) {
        if (frame.cursor <= lastCursor)
          journal.add({ kind: 'disorder', device: id, cursor: frame.cursor, after: lastCursor });
        lastCursor = frame.cursor;
      }
      if (frame.type === 'error' && (frame.code === 'unavailable' || frame.code === 'rate_limited'))
        journal.add({ kind: 'delayed', device: id, code: frame.code });
      if (frame.type !== 'message.created') return;
      journal.progress++;
      const { cursor, message } = frame;
      if ((this.#cursors.get(message.id) ?? cursor) !== cursor) this.repeatCount++;
      this.#cursors.set(message.id, cursor);
    });
  }

  #recordMessages(device: Device): void {
    const journal = this.#journal;
    device.on('gap', ({ from, to, reason }) => journal.add({ kind: 'gap', device: this.id, from, to, reason }));
    device.on('message', ({ message, resync }) => {
      const { id, conversation_id, seq, sender_id, client_message_id, payload } = message;
      journal.add({
        kind: 'got',
        device: this.id,
        message_id: id,
        conversation: conversation_id,
        seq,
        sender: sender_id,
        client_message_id,
        hash: hashOf(payload ?? ''),
        resync,
      });
    });
  }
}
