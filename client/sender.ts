/** Sends messages: seals them if needed, saves them in the Store, and keeps them in the outbox until they are answered. */
import type { ErrorFrame, SendAck } from '../shared/contract/frames/server.ts';
import { SealwireError } from './errors.ts';
import type { MessageSealer } from './message-sealer.ts';
import type { SendOptions } from './options.ts';
import { Outbox, type OutboxEntry, type OutboxOptions, type Sent, type StoredSend } from './outbox.ts';
import type { Store } from './store.ts';
import { uuid7 } from './uuid.ts';

function encodeSend(key: string, client_message_id: string, body: SendOptions): string {
  return JSON.stringify({ type: 'message.send', id: key, client_message_id, ...body });
}

interface SenderOptions extends OutboxOptions {
  sealer: MessageSealer | undefined;
  store: Store | undefined;
  onStoreFailed(cause: unknown): void;
}

export class Sender {
  readonly #outbox: Outbox;
  readonly #sealer: MessageSealer | undefined;
  readonly #store: Store | undefined;
  readonly #onStoreFailed: (cause: unknown) => void;
  /** Why nothing can be sent; undefined while this device connects or is connected. */
  #endedBy: SealwireError | undefined;

  constructor({ sealer, store, onStoreFailed, ...outbox }: SenderOptions) {
    this.#outbox = new Outbox(outbox);
    this.#sealer = sealer;
    this.#store = store;
    this.#onStoreFailed = onStoreFailed;
  }

  /** Messages without an answer. */
  get pending(): number {
    return this.#outbox.size;
  }

  /**
   * Sends one message under `key`, its id on the wire.
   * @throws SealwireError `outbox_full`, `cannot_seal`, the error that ended this device, or the server's refusal
   */
  send(key: string, { plaintext, client_message_id = uuid7(), ...body }: SendOptions): Promise<Sent> {
    if (plaintext !== undefined) return this.#sealAndSend(key, client_message_id, body, plaintext);
    return this.#enqueue(key, encodeSend(key, client_message_id, body));
  }

  /** Adds a message that the Store has kept from an earlier run. `onError` is given the server's refusal. */
  restore({ key, frame }: StoredSend, onError: (error: SealwireError) => void): void {
    this.#outbox.add({ key, frame, state: 'waiting', ticks: 0, resolve: () => {}, reject: onError });
  }

  /** @throws the error that ended this device */
  assertNotEnded(): void {
    if (this.#endedBy) throw this.#endedBy;
  }

  /** Accepts messages again, after `end`. */
  resume(): void {
    this.#endedBy = undefined;
  }

  /** Rejects every unanswered message, and each later one until `resume`. */
  end(error: SealwireError): void {
    this.#endedBy = error;
    this.#outbox.rejectAll(error);
  }

  handleOpen(): void {
    this.#outbox.sendQueued();
  }

  handleDisconnect(): void {
    this.#outbox.handleDisconnect();
  }

  tick(): void {
    this.#outbox.tick();
  }

  /** @returns whether the acknowledgement was for a message of this sender */
  handleAck(ack: SendAck): boolean {
    return this.#dropStored(this.#outbox.handleAck(ack));
  }

  /** @returns whether the error has ended a message of this sender */
  handleError(frame: ErrorFrame): boolean {
    return this.#dropStored(this.#outbox.handleError(frame));
  }

  async #sealAndSend(
    key: string,
    client_message_id: string,
    body: SendOptions,
    plaintext: Uint8Array | string,
  ): Promise<Sent> {
    if (!this.#sealer) throw new SealwireError('cannot_seal', 'this Device was created without crypto');
    this.#outbox.assertNotFull();
    const bytes = typeof plaintext === 'string' ? new TextEncoder().encode(plaintext) : plaintext;
    const seal = this.#sealer.prepare(body, bytes, client_message_id);
    const { to: _, ...unaddressed } = body;
    const makeFrame = async (refusal?: SealwireError): Promise<string> =>
      encodeSend(key, client_message_id, { ...unaddressed, ...(await seal(refusal)) });
    return this.#enqueue(key, await makeFrame(), makeFrame);
  }

  /** The Store has the message before the server does: otherwise a crash in between would lose it without a trace. */
  async #enqueue(key: string, frame: string, reseal?: OutboxEntry['reseal']): Promise<Sent> {
    const enqueue = (): Promise<Sent> =>
      new Promise((resolve, reject) => {
        this.assertNotEnded();
        this.#outbox.add({ key, frame, state: 'waiting', ticks: 0, resolve, reject, reseal });
      });
    if (!this.#store) return enqueue();
    this.#outbox.assertNotFull();
    return this.#store.addSend({ key, frame }).then(enqueue);
  }

  #dropStored(entry: OutboxEntry | undefined): boolean {
    if (entry === undefined) return false;
    this.#store?.dropSend(entry.key).catch(this.#onStoreFailed);
    return true;
  }
}
