/** One device of the fleet: the client library, and a journal of everything that it sends, is told and gets. */
import { Device, type DeviceSettings, MemoryStore, SealwireError, type Session } from '../../client/index.ts';
import { wsTransport } from '../../client/transports/ws.ts';
import { uuid7 } from '../../shared/ids.ts';
import { hashOf, type Journal } from './journal.ts';

export interface Target {
  conversation: string;
  /** The other person of a direct conversation. */
  to?: string;
}

export class Actor {
  readonly session: Session;
  readonly targets: Target[] = [];
  readonly #journal: Journal;
  #edge: string;
  readonly #store = new MemoryStore();
  /** Cursors of the messages that the edge sent to this device, by id. */
  readonly #cursors = new Map<string, number>();
  /** Messages that came again under another cursor: a client that goes by cursors alone takes them for new. */
  repeats = 0;
  readonly #settings: Partial<DeviceSettings>;
  #device: Device;

  constructor(journal: Journal, session: Session, edge: string, settings: Partial<DeviceSettings> = {}) {
    this.session = session;
    this.#journal = journal;
    this.#edge = edge;
    this.#settings = { backoff_base_ms: 50, backoff_cap_ms: 1_000, silence_ms: 2_000, ...settings };
    this.#device = this.#make();
  }

  get id(): string {
    return this.session.device.id;
  }
  get user(): string {
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

  /** Leaves; `anew`: as an application that is started again later, with what it had stored. */
  async leave(anew: boolean): Promise<void> {
    await this.#device.close();
    this.#journal.add({ kind: 'close', device: this.id, detail: 'left' });
    if (anew) this.#device = this.#make();
  }

  /** After it left: connects to that edge from now on. */
  reach(edge: string): void {
    this.#edge = edge;
    this.#device = this.#make();
  }

  /** Resolves once it is answered, whatever the answer. */
  send(target: Target, payload: string, client_message_id: string = uuid7()): Promise<void> {
    const { conversation, to } = target;
    const about = { device: this.id, client_message_id };
    this.#journal.add({ kind: 'send', ...about, conversation, hash: hashOf(payload) });
    const where = to === undefined ? { conversation_id: conversation } : { to: { user_id: to } };
    return this.#device.send({ ...where, payload, client_message_id }).then(
      ({ message_id, conversation_id, seq }) =>
        this.#journal.add({ kind: 'queued', ...about, message_id, conversation: conversation_id, seq }),
      (error: unknown) => {
        const code = error instanceof SealwireError ? error.code : 'internal';
        this.#journal.add({ kind: 'refused', ...about, code });
      },
    );
  }

  #make(): Device {
    const device = this.id;
    const journal = this.#journal;
    const made = new Device({
      session: this.session,
      edge: this.#edge,
      transport: wsTransport(),
      store: this.#store,
      settings: this.#settings,
    });
    let last = -1;
    made.on('open', ({ epoch, cursor }) => journal.add({ kind: 'open', device, detail: `${epoch} ${cursor}` }));
    made.on('close', ({ code, reason }) => journal.add({ kind: 'close', device, detail: `${code} ${reason}` }));
    made.on('frame', (frame) => {
      if (frame.type === 'connection.welcome') last = -1;
      else if ('cursor' in frame && frame.type !== 'inbox.empty' && frame.cursor !== undefined) {
        if (frame.cursor <= last) journal.add({ kind: 'disorder', device, cursor: frame.cursor, after: last });
        last = frame.cursor;
      }
    });
    made.on('frame', (frame) => {
      if (frame.type === 'error' && (frame.code === 'unavailable' || frame.code === 'rate_limited'))
        journal.add({ kind: 'delayed', device, code: frame.code });
      if (frame.type !== 'message.created') return;
      journal.moves++;
      const { cursor, message } = frame;
      if ((this.#cursors.get(message.id) ?? cursor) !== cursor) this.repeats++;
      this.#cursors.set(message.id, cursor);
    });
    made.on('gap', ({ from, to, reason }) => journal.add({ kind: 'gap', device, from, to, reason }));
    made.on('message', ({ message, resync }) => {
      const { id, conversation_id, seq, sender_id, client_message_id, payload } = message;
      journal.add({
        kind: 'got',
        device,
        message_id: id,
        conversation: conversation_id,
        seq,
        sender: sender_id,
        client_message_id,
        hash: hashOf(payload ?? ''),
        resync,
      });
    });
    return made;
  }
}
