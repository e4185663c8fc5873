/**
 * Publishing with acknowledgements. Many messages into one stream go for two of them: JetStream fast ingest (ADR-50),
 * whose batches the broker checks for gaps; each message's reply subject carries
 * `<batch>.<ack interval>.fail.<sequence in batch>.<operation>.$FI`. The client library's own `startFastIngest` makes a
 * subscription and several promises a batch; batches here are many and small, so one subscription serves all of them.
 */
import { headers, type Msg, type MsgHdrs, type NatsConnection } from 'nats';
import { privateInbox } from './connect.ts';
import { timeoutsOf } from './jetstream-manager.ts';
import { subject } from './topology.ts';

export interface Outgoing {
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
/** JetStream: the last message of the subject is another one than was said. */
const WRONG_LAST_SEQUENCE = 10071;

interface PubAck {
  seq: number;
  /** Present on the progress of a batch, absent at its end. */
  type?: string;
}
interface Waiting {
  resolve(seq: number): void;
  reject(error: Error): void;
  deadline: number;
}

/** A broker that lives answers a ping within this. */
const ANSWER_MS = 1_000;

/** The broker did not take a publish, or may not have; `code` is JetStream's, or 503. */
export class PublishError extends Error {
  override name = 'PublishError';
  readonly code: number;

  constructor(message: string, code: number) {
    super(message);
    this.code = code;
  }
}

function parseAck(data: Uint8Array): PubAck {
  if (data.length === 0) throw new PublishError('no stream took the message', 503);
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
  readonly #waiting = new Map<string, Waiting>();
  readonly #timer: NodeJS.Timeout;
  readonly #timeoutMs: number;
  #count = 0;
  /**
   * Since when the broker has answered and refused every message (ms since 1970); undefined while it takes them or does
   * not answer. Somebody else's message before ours is a refusal of ours alone and does not count.
   */
  refusesSince: number | undefined;
  /** Messages acknowledged so far. */
  #taken = 0;

  constructor(nc: NatsConnection) {
    this.#nc = nc;
    this.#inbox = privateInbox(nc);
    this.#timeoutMs = timeoutsOf(nc).publishMs;
    nc.subscribe(`${this.#inbox}.>`, { callback: (error, message) => void (error || this.#hear(message)) });
    this.#timer = setInterval(() => this.#expire(), Math.min(1_000, this.#timeoutMs / 4)).unref();
    void this.#watch();
  }

  close(): void {
    clearInterval(this.#timer);
    this.#abandon('closed');
  }

  /**
   * Appends one entry to a partition of LOG, provided that its last entry is still `after`: the fence that keeps a
   * worker which lost its partition from writing. Resolves with the entry's sequence once the broker has it (fsynced in
   * the durable profile); rejects with PublishError when it may or may not have it.
   */
  append(partition: number, after: number, entry: Uint8Array): Promise<number> {
    return this.follow(subject.log(partition), after, entry);
  }

  /** The same for any subject, with headers; rejects when its last message is another one than `after`. */
  follow(to: string, after: number, data: Uint8Array, about: MsgHdrs = headers()): Promise<number> {
    about.set('Nats-Expected-Last-Subject-Sequence', String(after));
    return this.#one(to, data, about);
  }

  /** One message; the broker drops a repetition of `id` within the stream's window. */
  once(to: string, id: string, data: Uint8Array): Promise<number> {
    const about = headers();
    about.set('Nats-Msg-Id', id);
    return this.#one(to, data, about);
  }

  /**
   * Resolves with the sequence of the last one when all of them stand in the stream, in this order (0 for none). Rejects
   * when some may not: write them again. All subjects must belong to one stream.
   */
  async write(messages: Outgoing[]): Promise<number> {
    let last = 0;
    for (let from = 0; from < messages.length; ) {
      let to = from;
      for (let bytes = 0; to < messages.length && to - from < MAX_BATCH && bytes < MAX_BATCH_BYTES; to++)
        bytes += messages[to]!.data.length;
      last = await this.#batch(to - from === messages.length ? messages : messages.slice(from, to));
      from = to;
    }
    return last;
  }

  #batch(messages: Outgoing[]): Promise<number> {
    const last = messages.length - 1;
    if (last === 0) return this.#one(messages[0]!.subject, messages[0]!.data, messages[0]!.headers);
    const id = this.#next();
    const before = `${this.#inbox}.${id}.${MAX_BATCH}.fail.`;
    for (let i = 0; i <= last; i++) {
      const operation = i === 0 ? START : i === last ? FINAL : APPEND;
      const { subject, data, headers: about } = messages[i]!;
      const reply = `${before}${i + 1}.${operation}.$FI`;
      this.#nc.publish(subject, data, about ? { reply, headers: about } : { reply });
    }
    return this.#wait(id);
  }

  #one(to: string, data: Uint8Array, about?: MsgHdrs): Promise<number> {
    const id = this.#next();
    this.#nc.publish(to, data, { reply: `${this.#inbox}.${id}`, ...(about ? { headers: about } : {}) });
    return this.#wait(id);
  }

  #next(): string {
    return (++this.#count).toString(36);
  }

  #wait(id: string): Promise<number> {
    return new Promise((resolve, reject) => {
      this.#waiting.set(id, { resolve, reject, deadline: Date.now() + this.#timeoutMs });
    });
  }

  #hear(message: Msg): void {
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
      this.#taken++;
      waiting.resolve(seq);
    } catch (error) {
      this.#waiting.delete(id);
      if ((error as PublishError).code !== WRONG_LAST_SEQUENCE) this.refusesSince ??= Date.now();
      waiting.reject(error as Error);
    }
  }

  #expire(): void {
    const now = Date.now();
    for (const [id, { deadline, reject }] of this.#waiting) {
      if (deadline > now) break;
      this.#waiting.delete(id);
      reject(new PublishError('the broker did not acknowledge in time', 503));
      void this.#unanswered();
    }
  }

  /** A stream whose disk was full does not acknowledge and does not refuse; a broker that answers otherwise counts as one that refuses. */
  async #unanswered(): Promise<void> {
    const taken = this.#taken;
    const late = new Promise<false>((resolve) => setTimeout(resolve, ANSWER_MS, false).unref());
    const answered = this.#nc.rtt().then(
      () => true,
      () => false,
    );
    if ((await Promise.race([answered, late])) && taken === this.#taken) this.refusesSince ??= Date.now();
  }

  /** An acknowledgement that was on its way when the connection broke does not come any more. */
  async #watch(): Promise<void> {
    for await (const status of this.#nc.status())
      if (status.type === 'disconnect') this.#abandon('the connection to the broker broke');
  }

  #abandon(reason: string): void {
    this.refusesSince = undefined;
    const all = [...this.#waiting.values()];
    this.#waiting.clear();
    for (const { reject } of all) reject(new PublishError(reason, 503));
  }
}
