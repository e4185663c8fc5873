/**
 * The way in: edge and api hand commands to ingest and hear what became of them.
 *
 * Commands of one event-loop turn and partition travel as one INGRESS message. Nothing waits on a timer: a lone command
 * goes alone and at once. After a reconnection everything unanswered is sent again, which ingest recognises.
 */
import type { NatsConnection } from 'nats';
import type { Config } from '../shared/config/index.ts';
import { ApiError } from '../shared/contract/errors.ts';
import { partitionOf, uuid7 } from '../shared/ids.ts';
import { type Answer, type Command, CommandBatch, type Reply } from '../shared/pipeline/commands.ts';
import { subject } from './topology.ts';

/** Who asked. Exactly one of `answered` and `failed` is called, once; `sent` perhaps later. */
export interface Waiter {
  answered(answer: Answer): void;
  failed(error: ApiError): void;
  /** The message stands in every recipient's inbox. */
  sent?(): void;
}
interface Pending {
  waiter: Waiter;
  partition: number;
  meta: Buffer;
  body: Uint8Array | undefined;
  deadline: number;
  /** When it was handed to the broker last, ms since 1970. */
  queuedAt: number;
  /** It went again after a reconnection: an answer `repeated` may be that of the first time. */
  again?: true;
  /** fanout was faster than ingest: `sent` came before the answer, on its own way through the broker. */
  early?: true;
}

/** A batch this large goes out without waiting for the end of the turn. */
const FLUSH_BYTES = 1 << 20;
const SENT_WAIT_MS = 60_000;
/**
 * After a reconnection what is still unanswered goes again so much later, each time: a stream in memory is made anew with
 * the broker, and what was published before it was there is lost.
 */
const RESEND_MS = [500, 2_000, 5_000];
const unavailable = (): ApiError =>
  new ApiError('unavailable', 'the message was not taken in time; send it again with the same client_message_id', {
    retry_after_ms: 1_000,
  });

export class Gateway {
  readonly name = uuid7().replaceAll('-', '');
  readonly #nc: NatsConnection;
  readonly #config: Config;
  readonly #reply: string;
  readonly #pending = new Map<number, Pending>();
  readonly #unsent = new Map<number, { waiter: Waiter; until: number }>();
  readonly #batches = new Map<number, CommandBatch>();
  #tag = 0;
  #scheduled = false;
  /** The broker is out of reach: commands wait, so that they keep their order among those that go again. */
  #away = false;
  /** When to send again what is unanswered, since the last reconnection. */
  #resendAt: number[] = [];
  #bytes = 0;
  #timer: NodeJS.Timeout;

  constructor(nc: NatsConnection, config: Config) {
    this.#nc = nc;
    this.#config = config;
    this.#reply = subject.reply(this.name);
    nc.subscribe(this.#reply, { callback: (error, message) => void (error || this.#hear(message.json() as Reply)) });
    this.#timer = setInterval(() => this.#expire(), 250).unref();
    void this.#watch();
  }

  /** Commands that ingest has not answered yet. */
  get inFlight(): number {
    return this.#pending.size;
  }

  submit(command: Command, body: Uint8Array | undefined, waiter: Waiter): void {
    const meta = Buffer.from(JSON.stringify(command));
    const size = meta.length + (body?.length ?? 0);
    if (this.#bytes + size > this.#config.GATEWAY_MAX_BYTES) {
      waiter.failed(unavailable());
      return;
    }
    this.#bytes += size;
    const partition = partitionOf(command.conversation_id, this.#config.PARTITIONS);
    this.#tag = (this.#tag + 1) >>> 0;
    const now = Date.now();
    const entry = { waiter, partition, meta, body, deadline: now + this.#config.COMMAND_TIMEOUT_MS, queuedAt: now };
    this.#pending.set(this.#tag, entry);
    if (!this.#away) this.#queue(this.#tag, entry);
  }

  /** `body`: the payload's JSON literal, or packed envelopes. Rejects with ApiError. */
  call(command: Command, body?: string | Uint8Array): Promise<Answer> {
    return new Promise((answered, failed) =>
      this.submit(command, typeof body === 'string' ? Buffer.from(body) : body, { answered, failed }),
    );
  }

  close(): void {
    clearInterval(this.#timer);
    for (const { waiter } of this.#pending.values()) waiter.failed(unavailable());
    this.#pending.clear();
    this.#unsent.clear();
  }

  #queue(tag: number, entry: Pending): void {
    const { partition, meta, body } = entry;
    entry.queuedAt = Date.now();
    let batch = this.#batches.get(partition);
    if (!batch) {
      batch = new CommandBatch(this.#reply);
      this.#batches.set(partition, batch);
    }
    batch.add(tag, meta, body);
    if (batch.bytes >= FLUSH_BYTES) {
      this.#batches.delete(partition);
      this.#nc.publish(subject.ingress(partition), batch.finish());
    } else if (!this.#scheduled) {
      this.#scheduled = true;
      setImmediate(() => this.#flush());
    }
  }

  #flush(): void {
    this.#scheduled = false;
    if (this.#nc.isClosed() || this.#away) return;
    for (const [partition, batch] of this.#batches) this.#nc.publish(subject.ingress(partition), batch.finish());
    this.#batches.clear();
  }

  #take(tag: number): Pending | undefined {
    const pending = this.#pending.get(tag);
    if (!pending) return undefined;
    this.#pending.delete(tag);
    this.#bytes -= pending.meta.length + (pending.body?.length ?? 0);
    return pending;
  }

  #hear(reply: Reply): void {
    for (const [tag, message_id, conversation_id, seq, repeated] of reply.answers ?? []) {
      const pending = this.#take(tag);
      if (!pending) continue;
      const { waiter, again, early } = pending;
      waiter.answered({ message_id, conversation_id, seq, repeated: repeated === 1 });
      if (early) waiter.sent?.();
      else if (waiter.sent && (!repeated || again) && this.#unsent.size < this.#config.GATEWAY_MAX_UNSENT)
        this.#unsent.set(tag, { waiter, until: Date.now() + SENT_WAIT_MS });
    }
    for (const [tag, error] of reply.errors ?? [])
      this.#take(tag)?.waiter.failed(new ApiError(error.code, error.message, error));
    for (const tag of reply.sent ?? []) {
      const pending = this.#pending.get(tag);
      if (pending) pending.early = true;
      this.#unsent.get(tag)?.waiter.sent?.();
      this.#unsent.delete(tag);
    }
  }

  #expire(): void {
    const now = Date.now();
    if (this.#resendAt[0]! <= now) {
      this.#resendAt.shift();
      // A command that went a moment ago is still on its way: ingest would execute a notice twice.
      if (!this.#away) this.#resend(now - RESEND_MS[0]! / 2);
    }
    for (const [tag, { deadline }] of this.#pending) {
      if (deadline > now) break;
      this.#take(tag)?.waiter.failed(unavailable());
    }
    for (const [tag, { until }] of this.#unsent) {
      if (until > now) break;
      this.#unsent.delete(tag);
    }
  }

  async #watch(): Promise<void> {
    for await (const status of this.#nc.status()) {
      if (status.type === 'disconnect') this.#away = true;
      if (status.type !== 'reconnect') continue;
      this.#away = false;
      this.#batches.clear();
      this.#resend(Date.now());
      this.#resendAt = RESEND_MS.map((ms) => Date.now() + ms);
    }
  }

  /** Sends unanswered commands of before `until` again, in their order. ingest recognises messages that it has accepted. */
  #resend(until: number): void {
    for (const [tag, pending] of this.#pending) {
      if (pending.queuedAt > until) continue;
      pending.again = true;
      this.#queue(tag, pending);
    }
  }
}
