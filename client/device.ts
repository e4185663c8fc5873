/** One device of a person: sends messages, hands received items to the application, and stays connected across reconnects. */
import type { ReceiptRead } from '../shared/contract/frames/client.ts';
import type { ErrorFrame, SendAck, ServerFrame, Welcome } from '../shared/contract/frames/server.ts';
import type { Message } from '../shared/contract/objects.ts';
import { Connection } from './connection.ts';
import { Emitter } from './emitter.ts';
import { SealwireError } from './errors.ts';
import type { DeviceEvents } from './events.ts';
import { HandledMessages } from './handled-messages.ts';
import { Inbox, type Item } from './inbox.ts';
import { createItemHandler } from './item-handler.ts';
import { MessageSealer } from './message-sealer.ts';
import type { DeviceOptions, HistoryOptions, SendOptions } from './options.ts';
import type { Sent } from './outbox.ts';
import { PendingRequests, type RequestCommand } from './pending-requests.ts';
import { Sender } from './sender.ts';
import { Session } from './session.ts';
import { DEVICE_SETTINGS } from './settings.ts';
import type { Store } from './store.ts';
import { webTransport } from './transports/web.ts';

export class Device extends Emitter<DeviceEvents> {
  readonly session: Session;
  readonly id: string;
  readonly user_id: string;
  /** The server's last welcome: its limits, epoch and durability. */
  welcome: Welcome | undefined;
  #connection: Connection;
  #sender: Sender;
  #inbox: Inbox;
  #requests: PendingRequests;
  #handledMessages = new HandledMessages();
  #sealer: MessageSealer | undefined;
  #store: Store | undefined;
  #restored: Promise<void> | undefined;
  #lastInboxSave: Promise<void> = Promise.resolve();
  #epoch: string | undefined;
  /** Commands sent so far; makes their ids on the wire. */
  #commandCount = 0;

  constructor({ session, edge, crypto, signer, store, transport = webTransport(), settings }: DeviceOptions) {
    super();
    this.session = session instanceof Session ? session : new Session(session);
    this.id = this.session.device.id;
    this.user_id = this.session.user.id;
    this.#store = store;
    this.#sealer = crypto && new MessageSealer(this.session, { crypto, signer }, (error) => this.emit('error', error));
    const allSettings = { ...DEVICE_SETTINGS, ...settings };
    const transmit = (frame: string): boolean => this.#connection.send(frame);
    this.#sender = new Sender({
      outbox_max: allSettings.outbox_max,
      in_flight: allSettings.in_flight,
      transmit,
      sealer: this.#sealer,
      store,
      onStoreFailed: (cause) => this.#handleStoreFailure(cause),
    });
    this.#requests = new PendingRequests(transmit);
    this.#inbox = new Inbox({
      handle: createItemHandler({
        session: this.session,
        handledMessages: this.#handledMessages,
        sealer: this.#sealer,
        isClosing: () => this.#inbox.isClosing,
        emit: this.emit.bind(this),
      }),
      ack: (cursor) => this.#acknowledge(cursor),
      onHandlerFailed: (cause) => {
        const message = 'a listener failed; the server delivers its item again';
        this.emit('error', new SealwireError('handler_failed', message, { cause }));
        this.#connection.reconnect('handler failed');
      },
      ack_every: allSettings.ack_every,
    });
    this.#connection = new Connection(edge, this.session, transport, allSettings, {
      onWelcome: (welcome) => this.#handleWelcome(welcome),
      onFrame: (frame) => this.#handleFrame(frame),
      onTick: () => this.#sender.tick(),
      onLost: (code, reason, retry_in_ms) => {
        this.#sender.handleDisconnect();
        this.#inbox.handleDisconnect();
        this.emit('close', { code, reason, retry_in_ms });
      },
      onEnded: (error) => this.#end(error),
    });
  }

  get connected(): boolean {
    return this.#connection.state === 'open';
  }
  /** Messages that the server has not answered yet. */
  get pending(): number {
    return this.#sender.pending;
  }

  /**
   * Connects and stays connected until `close()`. Resolves at the first welcome. An unreachable server is tried again,
   * unless this device has a new key to publish first.
   * @throws SealwireError `signed_out`, `replaced`, `forbidden`, `closed`; `unavailable` when a new key can't be published
   */
  async connect(): Promise<void> {
    if (this.connected) return;
    this.#sender.resume();
    this.#restored ??= this.#restore();
    await this.#restored;
    await this.#sealer?.publishKeys();
    const opened = this.#requests.waitForOpen();
    this.#connection.start();
    await opened;
  }

  /**
   * Sends a message. Until the server has it, the message waits here, across reconnects.
   * @returns the server's answer once the message is durable
   * @throws SealwireError `outbox_full`, `cannot_seal`, `closed`, or the server's refusal
   */
  send(options: SendOptions): Promise<Sent> {
    return this.#sender.send((++this.#commandCount).toString(36), options);
  }

  /** Marks everything up to `seq` as read. The server tells the senders and this person's other devices. */
  async read(conversation_id: string, seq: number): Promise<void> {
    await this.#request({ type: 'receipt.read', conversation_id, seq } satisfies ReceiptRead);
  }

  /**
   * Fetches a page of messages: ascending after `after_seq`, or descending before `before_seq`.
   * @returns the messages, and in `more` whether there is another page
   */
  async history(
    conversation_id: string,
    options: HistoryOptions = {},
  ): Promise<{ messages: Message[]; more: boolean }> {
    const answer = await this.#request({ type: 'history.get', conversation_id, ...options });
    return answer as Extract<ServerFrame, { type: 'history' }>;
  }

  /** Opens a message of history. @returns its plaintext. @throws SealwireError `cannot_open` */
  async open(message: Message): Promise<Uint8Array> {
    if (!this.#sealer) throw new SealwireError('cannot_open', 'this Device was created without crypto');
    return this.#sealer.open(message);
  }

  /**
   * Acknowledges what was handled and disconnects. Unanswered sends are rejected with `closed`; a Store keeps them for
   * the next start.
   */
  async close(): Promise<void> {
    await this.#inbox.close();
    await this.#lastInboxSave;
    // Items whose ack could not be sent were handled all the same, and must not be handled again after a restart.
    if (this.#epoch !== undefined) await this.#saveInbox(this.#inbox.cursor);
    const closed = this.#connection.close();
    this.#end(new SealwireError('closed', 'the device was closed'));
    await closed;
  }

  async #restore(): Promise<void> {
    const saved = await this.#store?.load();
    if (!saved) return;
    if (saved.inbox) {
      this.#inbox.cursor = saved.inbox.cursor;
      this.#epoch = saved.inbox.epoch;
      this.#handledMessages.restore(saved.inbox.seen);
    }
    for (const send of saved.outbox) {
      this.#commandCount = Math.max(this.#commandCount, Number.parseInt(send.key, 36));
      this.#sender.restore(send, (error) => error.code !== 'closed' && this.emit('error', error));
    }
  }

  async #request(command: RequestCommand): Promise<ServerFrame> {
    this.#sender.assertNotEnded();
    return this.#requests.send(`r${(++this.#commandCount).toString(36)}`, command);
  }

  #handleWelcome(welcome: Welcome): void {
    const isNewEpoch = this.#epoch !== undefined && this.#epoch !== welcome.epoch;
    this.welcome = welcome;
    this.#epoch = welcome.epoch;
    this.#inbox.handleOpen(welcome.cursor, isNewEpoch);
    this.emit('open', welcome);
    this.#requests.handleOpen();
    this.#sender.handleOpen();
  }

  #handleFrame(frame: ServerFrame): void {
    if (this.has('frame')) this.emit('frame', frame);
    switch (frame.type) {
      case 'ack':
        this.#handleAck(frame as SendAck);
        break;
      case 'error':
        this.#handleError(frame);
        break;
      case 'history':
        this.#requests.handleAnswer(frame);
        break;
      default:
        if (frame.type === 'connection.welcome') return;
        if ('cursor' in frame || frame.type === 'inbox.gap') this.#inbox.receive(frame as Item);
        else if (frame.type === 'message.status') this.emit('status', frame);
    }
  }

  #handleAck(frame: SendAck): void {
    if (this.#sender.handleAck(frame)) this.#handledMessages.add(frame.conversation_id, frame.seq, true);
    else this.#requests.handleAnswer(frame);
  }

  #handleError(frame: ErrorFrame): void {
    if (this.#sender.handleError(frame)) return;
    if (frame.id === undefined) this.emit('error', SealwireError.from(frame));
    else this.#requests.handleAnswer(frame);
  }

  /** @returns false when there is no open socket */
  #acknowledge(cursor: number): boolean {
    if (!this.connected) return false;
    const frame = `{"type":"inbox.ack","cursor":${cursor}}`;
    if (!this.#store) return this.#connection.send(frame);
    this.#lastInboxSave = this.#saveInbox(cursor).then((isSaved) => void (isSaved && this.#connection.send(frame)));
    return true;
  }

  /** @returns whether the Store has saved it */
  async #saveInbox(cursor: number): Promise<boolean> {
    try {
      await this.#store?.saveInbox({ cursor, epoch: this.#epoch!, seen: this.#handledMessages.serialize() });
      return true;
    } catch (cause) {
      this.#handleStoreFailure(cause);
      return false;
    }
  }

  #handleStoreFailure(cause: unknown): void {
    this.emit('error', new SealwireError('internal', 'the store failed', { cause }));
  }

  #end(error: SealwireError): void {
    this.#sender.end(error);
    this.#requests.rejectAll(error);
    if (error.code === 'replaced') this.emit('replaced', error);
    else if (error.code !== 'closed') this.emit('error', error);
  }
}
