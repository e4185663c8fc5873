/** One device of a person: sends what must arrive, hands over what has arrived, through any number of sockets. */

import type { ReceiptRead } from '../shared/contract/frames/client.ts';
import type { ErrorFrame, SendAck, ServerFrame, Welcome } from '../shared/contract/frames/server.ts';
import type { Message } from '../shared/contract/objects.ts';
import { Connection } from './connection.ts';
import { Emitter } from './emitter.ts';
import { SealwireError } from './errors.ts';
import type { DeviceEvents } from './events.ts';
import { Inbox, type Item } from './inbox.ts';
import { itemHandler } from './items.ts';
import type { DeviceOptions, HistoryOptions, SendOptions } from './options.ts';
import { type Entry, Outbox, type Sent, sendFrame, WAITING } from './outbox.ts';
import { type Asked, Requests } from './requests.ts';
import { Sealing } from './sealing.ts';
import { Seen } from './seen.ts';
import { Session } from './session.ts';
import { DEVICE_SETTINGS } from './settings.ts';
import type { Store } from './store.ts';
import { webTransport } from './transports/web.ts';
import { uuid7 } from './uuid.ts';

export class Device extends Emitter<DeviceEvents> {
  readonly session: Session;
  readonly id: string;
  readonly user_id: string;
  /** The last welcome: limits, epoch, durability. */
  welcome: Welcome | undefined;
  #connection: Connection;
  #outbox: Outbox;
  #inbox: Inbox;
  #requests: Requests;
  #seen = new Seen();
  #sealing: Sealing | undefined;
  #store: Store | undefined;
  #loaded: Promise<void> | undefined;
  #saved: Promise<void> = Promise.resolve();
  #epoch: string | undefined;
  /** Why nothing can be sent any more, until `connect()` is called again. */
  #ended: SealwireError | undefined;
  /** Commands so far; their ids on the wire. */
  #commands = 0;

  constructor({ session, edge, crypto, signer, store, transport = webTransport(), settings }: DeviceOptions) {
    super();
    this.session = session instanceof Session ? session : new Session(session);
    this.id = this.session.device.id;
    this.user_id = this.session.user.id;
    this.#store = store;
    this.#sealing = crypto && new Sealing(this.session, { crypto, signer }, (error) => this.emit('error', error));
    const set = { ...DEVICE_SETTINGS, ...settings };
    const transmit = (frame: string): boolean => this.#connection.send(frame);
    this.#outbox = new Outbox({ outbox_max: set.outbox_max, in_flight: set.in_flight, transmit });
    this.#requests = new Requests(transmit);
    const [emit, leaving] = [this.emit.bind(this), (): boolean => this.#inbox.leaving];
    this.#inbox = new Inbox({
      handle: itemHandler({ session: this.session, seen: this.#seen, sealing: this.#sealing, leaving, emit }),
      ack: (cursor) => this.#ack(cursor),
      failed: (cause) => {
        this.emit('error', new SealwireError('handler_failed', 'an item was not handled; it comes again', { cause }));
        this.#connection.reset('handler failed');
      },
      ack_every: set.ack_every,
    });
    this.#connection = new Connection(edge, this.session, transport, set, {
      welcome: (welcome) => this.#welcome(welcome),
      frame: (frame) => this.#frame(frame),
      tick: () => this.#outbox.tick(),
      down: (code, reason, retry_in_ms) => {
        this.#outbox.disconnected();
        this.#inbox.disconnected();
        this.emit('close', { code, reason, retry_in_ms });
      },
      stopped: (error) => this.#stopped(error),
    });
  }

  get connected(): boolean {
    return this.#connection.state === 'open';
  }
  get pending(): number {
    return this.#outbox.size;
  }

  /**
   * Connects and stays connected until `close()`. Resolves at the first welcome.
   * @throws SealwireError `signed_out`, `replaced`, `forbidden`, `closed`; an unreachable server is tried again instead,
   * unless this device has a new key to publish first (`unavailable`).
   */
  async connect(): Promise<void> {
    if (this.connected) return;
    this.#ended = undefined;
    this.#loaded ??= this.#load();
    await this.#loaded;
    await this.#sealing?.publish();
    const opened = this.#requests.untilOpen();
    this.#connection.start();
    await opened;
  }

  /**
   * @returns what the server says once the message is durable; until then it waits here, across reconnects.
   * @throws SealwireError `outbox_full`, `cannot_seal`, `closed`, or what the server refuses it with
   */
  send({ plaintext, client_message_id = uuid7(), ...body }: SendOptions): Promise<Sent> {
    const key = (++this.#commands).toString(36);
    if (plaintext !== undefined) return this.#seal(key, client_message_id, body, plaintext);
    return this.#post(key, sendFrame(key, client_message_id, body));
  }

  /** Everything up to `seq` was read; the sender and my other devices hear of it. */
  async read(conversation_id: string, seq: number): Promise<void> {
    await this.#ask({ type: 'receipt.read', conversation_id, seq } satisfies ReceiptRead);
  }

  /** A page by seq: ascending after `after_seq`, or descending before `before_seq`. `more`: there is another page. */
  async history(
    conversation_id: string,
    options: HistoryOptions = {},
  ): Promise<{ messages: Message[]; more: boolean }> {
    const answer = await this.#ask({ type: 'history.get', conversation_id, ...options });
    return answer as Extract<ServerFrame, { type: 'history' }>;
  }

  /** What a message of history said. @throws SealwireError `cannot_open` */
  async open(message: Message): Promise<Uint8Array> {
    if (!this.#sealing) throw new SealwireError('cannot_open', 'this Device was made without crypto');
    return this.#sealing.open(message);
  }

  /** Acknowledges what was handled and leaves. Sends without an ack fail with `closed`; a Store keeps them for next time. */
  async close(): Promise<void> {
    await this.#inbox.leave();
    await this.#saved;
    // What could not be acknowledged was handled all the same.
    if (this.#epoch !== undefined) await this.#save(this.#inbox.cursor);
    const stopped = this.#connection.stop();
    this.#stopped(new SealwireError('closed', 'the device was closed'));
    await stopped;
  }

  async #load(): Promise<void> {
    const saved = await this.#store?.load();
    if (!saved) return;
    if (saved.inbox) {
      this.#inbox.cursor = saved.inbox.cursor;
      this.#epoch = saved.inbox.epoch;
      this.#seen.load(saved.inbox.seen);
    }
    const reject = (error: SealwireError) => error.code !== 'closed' && this.emit('error', error);
    for (const { key, frame } of saved.outbox) {
      this.#commands = Math.max(this.#commands, Number.parseInt(key, 36));
      this.#outbox.add({ key, frame, age: WAITING, resolve: () => {}, reject });
    }
  }

  async #seal(key: string, id: string, body: SendOptions, plaintext: Uint8Array | string): Promise<Sent> {
    if (!this.#sealing) throw new SealwireError('cannot_seal', 'this Device was made without crypto');
    this.#outbox.room();
    const bytes = typeof plaintext === 'string' ? new TextEncoder().encode(plaintext) : plaintext;
    const seal = this.#sealing.prepare(body, bytes, id);
    const { to: _, ...rest } = body;
    const frame = async (refused?: SealwireError): Promise<string> =>
      sendFrame(key, id, { ...rest, ...(await seal(refused)) });
    return this.#post(key, await frame(), frame);
  }

  async #post(key: string, frame: string, reseal?: Entry['reseal']): Promise<Sent> {
    const queued = (): Promise<Sent> =>
      new Promise((resolve, reject) => {
        if (this.#ended) throw this.#ended;
        this.#outbox.add({ key, frame, age: WAITING, resolve, reject, reseal });
      });
    if (!this.#store) return queued();
    this.#outbox.room();
    return this.#store.addSend({ key, frame }).then(queued);
  }

  async #ask(command: Asked): Promise<ServerFrame> {
    if (this.#ended) throw this.#ended;
    return this.#requests.ask(`r${(++this.#commands).toString(36)}`, command);
  }

  #welcome(welcome: Welcome): void {
    const anew = this.#epoch !== undefined && this.#epoch !== welcome.epoch;
    this.welcome = welcome;
    this.#epoch = welcome.epoch;
    this.#inbox.connected(welcome.cursor, anew);
    this.emit('open', welcome);
    this.#requests.opened();
    this.#outbox.pump();
  }

  #frame(frame: ServerFrame): void {
    if (this.has('frame')) this.emit('frame', frame);
    switch (frame.type) {
      case 'ack':
        this.#acked(frame as SendAck);
        break;
      case 'error':
        this.#refused(frame);
        break;
      case 'history':
        this.#requests.answer(frame);
        break;
      default:
        if (frame.type === 'connection.welcome') return;
        if ('cursor' in frame || frame.type === 'inbox.gap') this.#inbox.accept(frame as Item);
        else if (frame.type === 'message.status') this.emit('status', frame);
    }
  }

  #acked(frame: SendAck): void {
    const entry = this.#outbox.acknowledged(frame);
    if (entry === undefined) this.#requests.answer(frame);
    else {
      this.#seen.add(frame.conversation_id, frame.seq, true);
      this.#forget(entry.key);
    }
  }

  #refused(frame: ErrorFrame): void {
    const entry = this.#outbox.refused(frame);
    if (entry) this.#forget(entry.key);
    else if (frame.id === undefined) this.emit('error', SealwireError.from(frame));
    else this.#requests.answer(frame);
  }

  #forget(key: string): void {
    this.#store?.dropSend(key).catch((cause) => this.#storeFailed(cause));
  }

  #ack(cursor: number): boolean {
    if (!this.connected) return false;
    const frame = `{"type":"inbox.ack","cursor":${cursor}}`;
    if (!this.#store) return this.#connection.send(frame);
    this.#saved = this.#save(cursor).then((saved) => void (saved && this.#connection.send(frame)));
    return true;
  }

  /** @returns whether it is safe. */
  async #save(cursor: number): Promise<boolean> {
    try {
      await this.#store?.saveInbox({ cursor, epoch: this.#epoch!, seen: this.#seen.save() });
      return true;
    } catch (cause) {
      return this.#storeFailed(cause);
    }
  }

  #storeFailed(cause: unknown): false {
    this.emit('error', new SealwireError('internal', 'the store failed', { cause }));
    return false;
  }

  #stopped(error: SealwireError): void {
    this.#ended = error;
    this.#outbox.fail(error);
    this.#requests.fail(error);
    if (error.code === 'replaced') this.emit('replaced', error);
    else if (error.code !== 'closed') this.emit('error', error);
  }
}
