/**
 * Publishes with acknowledgements, several messages of one stream for the price of two: by JetStream fast ingest (ADR-50),
 * whose batches the broker checks for gaps. Each message's reply subject carries
 * `<batch>.<ack interval>.fail.<sequence in batch>.<operation>.$FI`. The client library's own `startFastIngest` makes a
 * subscription and several promises a batch; batches here are many and small, so one subscription serves all of them.
 */
import { headers, type Msg, type MsgHdrs, type NatsConnection } from 'nats';
import { privateInbox, watchConnection } from './connect.ts';
import { isWrongLastSequence } from './errors.ts';
import { timeoutsOf } from './jetstream-manager.ts';
import { EXPECTED_LAST } from './js-api.ts';
import { subject } from './topology.ts';

export interface OutgoingMessage {
  subject: string;
  data: Uint8Array;
  headers?: MsgHdrs;
}

const START = 0;
const APPEND = 1;
const FINAL = 2;
/** Messages of one batch; more are sent one batch after the other, so that the broker is never flooded. */
const MAX_BATCH = 1_000;
const MAX_BATCH_BYTES = 8 << 20;

interface PubAck {
  seq: number;
  /** Present on the progress of a batch, absent at its end. */
  type?: string;
}
interface Unacknowledged {
  resolve(seq: number): void;
  reject(error: Error): void;
  deadline: number;
}

/** A broker that is alive answers a ping within this. */
const PING_MS = 1_000;

/** The broker did not store a message, or may not have; `code` is JetStream's (see errors.ts), or 503. */
export class PublishError extends Error {
  override name = 'PublishError';
  readonly code: number;

  constructor(message: string, code: number) {
    super(message);
    this.code = code;
  }
}

function parseAck(data: Uint8Array): PubAck {
  if (data.length === 0) throw new PublishError('no stream stores this subject', 503);
  const answer = JSON.parse(Buffer.from(data.buffer, data.byteOffset, data.length).toString()) as PubAck & {
    error?: { err_code: number; description: string };
  };
  if (answer.error) throw new PublishError(answer.error.description, answer.error.err_code);
  if (answer.type === 'gap') throw new PublishError('the broker lost a message of the batch', 503);
  return answer;
}

export class Publisher {
  readonly #nc: NatsConnection;
  readonly #inbox: string;
  readonly #waiting = new Map<string, Unacknowledged>();
  readonly #timer: NodeJS.Timeout;
  readonly #timeoutMs: number;
  #count = 0;
  /**
   * Since when the broker has answered and refused every message (ms since 1970); undefined while it stores them or does
   * not answer. A refusal because another process published first concerns that message alone and does not count.
   */
  refusesSince: number | undefined;
  /** Publishes acknowledged so far. */
  #acknowledged = 0;

  constructor(nc: NatsConnection) {
    this.#nc = nc;
    this.#inbox = privateInbox(nc);
    this.#timeoutMs = timeoutsOf(nc).publishMs;
    nc.subscribe(`${this.#inbox}.>`, { callback: (error, message) => void (error || this.#handleAck(message)) });
    this.#timer = setInterval(() => this.#expire(), Math.min(1_000, this.#timeoutMs / 4)).unref();
    // Acknowledgements that were on their way when the connection broke never come.
    watchConnection(nc, { onDisconnect: () => this.#abandon('the connection to the broker broke') });
  }

  /** Rejects everything that is not acknowledged. */
  close(): void {
    clearInterval(this.#timer);
    this.#abandon('closed');
  }

  /**
   * Appends one entry to a partition of LOG, provided that its last entry is still `after`: this fence keeps a worker
   * which lost its partition from writing. Resolves with the entry's sequence once the broker has stored it (fsynced in the
   * durable profile).
   * @throws {PublishError} when the broker may or may not have stored it
   */
  appendToLog(partition: number, after: number, entry: Uint8Array): Promise<number> {
    return this.publishAfter(subject.log(partition), after, entry);
  }

  /** Publishes to any subject, with headers; rejects when the subject's last message is another one than `after`. */
  publishAfter(to: string, after: number, data: Uint8Array, head: MsgHdrs = headers()): Promise<number> {
    head.set(EXPECTED_LAST, String(after));
    return this.#publishOne(to, data, head);
  }

  /** Publishes one message; the broker drops a repetition of `id` within the stream's duplicate window. */
  publishOnce(to: string, id: string, data: Uint8Array): Promise<number> {
    const head = headers();
    head.set('Nats-Msg-Id', id);
    return this.#publishOne(to, data, head);
  }

  /**
   * Publishes messages in their order. All subjects must belong to one stream. Resolves with the sequence of the last one
   * once all are stored (0 for none).
   * @throws {PublishError} when some may not be stored: publish all of them again
   */
  async publishAll(messages: OutgoingMessage[]): Promise<number> {
    let last = 0;
    for (let from = 0; from < messages.length; ) {
      let to = from;
      for (let bytes = 0; to < messages.length && to - from < MAX_BATCH && bytes < MAX_BATCH_BYTES; to++)
        bytes += messages[to]!.data.length;
      last = await this.#publishBatch(to - from === messages.length ? messages : messages.slice(from, to));
      from = to;
    }
    return last;
  }

  #publishBatch(messages: OutgoingMessage[]): Promise<number> {
    const last = messages.length - 1;
    if (last === 0) return this.#publishOne(messages[0]!.subject, messages[0]!.data, messages[0]!.headers);
    const id = this.#nextId();
    const before = `${this.#inbox}.${id}.${MAX_BATCH}.fail.`;
    for (let i = 0; i <= last; i++) {
      const operation = i === 0 ? START : i === last ? FINAL : APPEND;
      const { subject, data, headers: head } = messages[i]!;
      const reply = `${before}${i + 1}.${operation}.$FI`;
      this.#nc.publish(subject, data, head ? { reply, headers: head } : { reply });
    }
    return this.#waitForAck(id);
  }

  #publishOne(to: string, data: Uint8Array, head?: MsgHdrs): Promise<number> {
    const id = this.#nextId();
    this.#nc.publish(to, data, { reply: `${this.#inbox}.${id}`, ...(head ? { headers: head } : {}) });
    return this.#waitForAck(id);
  }

  #nextId(): string {
    return (++this.#count).toString(36);
  }

  #waitForAck(id: string): Promise<number> {
    return new Promise((resolve, reject) => {
      this.#waiting.set(id, { resolve, reject, deadline: Date.now() + this.#timeoutMs });
    });
  }

  #handleAck(message: Msg): void {
    const from = this.#inbox.length + 1;
    const dot = message.subject.indexOf('.', from);
    const id = message.subject.slice(from, dot < 0 ? undefined : dot);
    const waiting = this.#waiting.get(id);
    if (!waiting) return;
    try {
      const { seq, type } = parseAck(message.data);
      if (type) return;
      this.#waiting.delete(id);
      this.refusesSince = undefined;
      this.#acknowledged++;
      waiting.resolve(seq);
    } catch (error) {
      this.#waiting.delete(id);
      if (!isWrongLastSequence(error)) this.refusesSince ??= Date.now();
      waiting.reject(error as Error);
    }
  }

  #expire(): void {
    const now = Date.now();
    for (const [id, { deadline, reject }] of this.#waiting) {
      if (deadline > now) break;
      this.#waiting.delete(id);
      reject(new PublishError('the broker did not acknowledge in time', 503));
      void this.#checkWhetherRefusing();
    }
  }

  /**
   * A stream whose disk was full neither acknowledges nor refuses: a broker that does not acknowledge but answers a ping counts
   * as one that refuses.
   */
  async #checkWhetherRefusing(): Promise<void> {
    const acknowledged = this.#acknowledged;
    const late = new Promise<false>((resolve) => setTimeout(resolve, PING_MS, false).unref());
    const answered = this.#nc.rtt().then(
      () => true,
      () => false,
    );
    if ((await Promise.race([answered, late])) && acknowledged === this.#acknowledged) this.refusesSince ??= Date.now();
  }

  #abandon(reason: string): void {
    this.refusesSince = undefined;
    const all = [...this.#waiting.values()];
    this.#waiting.clear();
    for (const { reject } of all) reject(new PublishError(reason, 503));
  }
}
