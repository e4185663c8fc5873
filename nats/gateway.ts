/**
 * Submits commands to ingest and passes its answers back: edge, api and payments-webhook use it.
 *
 * Commands of one event-loop turn and partition travel as one INGRESS message. Nothing waits on a timer: a lone command
 * goes alone and at once. After a reconnection everything unanswered is sent again; ingest recognises repetitions.
 */
import type { NatsConnection } from 'nats';
import type { Config } from '../shared/config/index.ts';
import { ApiError } from '../shared/contract/errors.ts';
import { partitionOf, uuid7 } from '../shared/ids.ts';
import { type Answer, type Command, CommandBatch, type Reply } from '../shared/pipeline/commands.ts';
import { watchConnection } from './connect.ts';
import { subject } from './topology.ts';

/** Hears what becomes of one command: exactly one of `answered` and `failed` is called, once; `sent` possibly later. */
export interface CommandObserver {
  answered(answer: Answer): void;
  failed(error: ApiError): void;
  /** fanout has written the message into every recipient's inbox. */
  sent?(): void;
}
interface Pending {
  observer: CommandObserver;
  partition: number;
  meta: Buffer;
  body: Uint8Array | undefined;
  deadline: number;
  /** When it was last queued for the broker, ms since 1970. */
  queuedAt: number;
  /** It was sent again after a reconnection: an answer `repeated` may be that of the first time. */
  isResent?: true;
  /** `sent` came before the answer, since fanout's statuses and ingest's answers take separate ways through the broker. */
  isSent?: true;
}

/** A batch this large goes out without waiting for the end of the turn. */
const FLUSH_BYTES = 1 << 20;
/** An answered command waits this long for its status `sent`. */
const SENT_WAIT_MS = 60_000;
/**
 * After a reconnection, commands that are still unanswered are sent again after each of these times: a stream in memory is
 * created again with the broker, and what was published before it existed is lost.
 */
const RESEND_MS = [500, 2_000, 5_000];
const unavailable = (): ApiError =>
  new ApiError('unavailable', 'the command was not accepted in time; send it again with the same client_message_id', {
    retry_after_ms: 1_000,
  });

export class Gateway {
  readonly name = uuid7().replaceAll('-', '');
  readonly #nc: NatsConnection;
  readonly #config: Config;
  readonly #reply: string;
  readonly #pending = new Map<number, Pending>();
  readonly #unsent = new Map<number, { observer: CommandObserver; until: number }>();
  readonly #batches = new Map<number, CommandBatch>();
  #tag = 0;
  #scheduled = false;
  /** Commands wait while the broker is out of reach, so that they keep their order among those that are sent again. */
  #isDisconnected = false;
  /** When to send unanswered commands again (ms since 1970), earliest first; filled by a reconnection. */
  #resendAt: number[] = [];
  #bytes = 0;
  #timer: NodeJS.Timeout;

  constructor(nc: NatsConnection, config: Config) {
    this.#nc = nc;
    this.#config = config;
    this.#reply = subject.reply(this.name);
    nc.subscribe(this.#reply, {
      callback: (error, message) => void (error || this.#handleReply(message.json() as Reply)),
    });
    this.#timer = setInterval(() => this.#expire(), 250).unref();
    watchConnection(nc, {
      onDisconnect: () => {
        this.#isDisconnected = true;
      },
      onReconnect: () => this.#handleReconnect(),
    });
  }

  /** Commands that ingest has not answered yet. */
  get inFlight(): number {
    return this.#pending.size;
  }

  /**
   * Queues a command. `body`: the payload's JSON literal, or packed envelopes. The observer's `failed` is called at once when
   * GATEWAY_MAX_BYTES are waiting already.
   */
  submit(command: Command, body: Uint8Array | undefined, observer: CommandObserver): void {
    const meta = Buffer.from(JSON.stringify(command));
    const size = meta.length + (body?.length ?? 0);
    if (this.#bytes + size > this.#config.GATEWAY_MAX_BYTES) {
      observer.failed(unavailable());
      return;
    }
    this.#bytes += size;
    const partition = partitionOf(command.conversation_id, this.#config.PARTITIONS);
    this.#tag = (this.#tag + 1) >>> 0;
    const now = Date.now();
    const pending = { observer, partition, meta, body, deadline: now + this.#config.COMMAND_TIMEOUT_MS, queuedAt: now };
    this.#pending.set(this.#tag, pending);
    if (!this.#isDisconnected) this.#queue(this.#tag, pending);
  }

  /** Submits a command and returns its answer. `body` as for `submit`. @throws {ApiError} */
  call(command: Command, body?: string | Uint8Array): Promise<Answer> {
    return new Promise((answered, failed) =>
      this.submit(command, typeof body === 'string' ? Buffer.from(body) : body, { answered, failed }),
    );
  }

  close(): void {
    clearInterval(this.#timer);
    for (const { observer } of this.#pending.values()) observer.failed(unavailable());
    this.#pending.clear();
    this.#unsent.clear();
  }

  #queue(tag: number, pending: Pending): void {
    const { partition, meta, body } = pending;
    pending.queuedAt = Date.now();
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
    if (this.#nc.isClosed() || this.#isDisconnected) return;
    for (const [partition, batch] of this.#batches) this.#nc.publish(subject.ingress(partition), batch.finish());
    this.#batches.clear();
  }

  #remove(tag: number): Pending | undefined {
    const pending = this.#pending.get(tag);
    if (!pending) return undefined;
    this.#pending.delete(tag);
    this.#bytes -= pending.meta.length + (pending.body?.length ?? 0);
    return pending;
  }

  #handleReply(reply: Reply): void {
    for (const [tag, message_id, conversation_id, seq, repeated] of reply.answers ?? []) {
      const pending = this.#remove(tag);
      if (!pending) continue;
      const { observer, isResent, isSent } = pending;
      observer.answered({ message_id, conversation_id, seq, repeated: repeated === 1 });
      if (isSent) observer.sent?.();
      else if (observer.sent && (!repeated || isResent) && this.#unsent.size < this.#config.GATEWAY_MAX_UNSENT)
        this.#unsent.set(tag, { observer, until: Date.now() + SENT_WAIT_MS });
    }
    for (const [tag, error] of reply.errors ?? [])
      this.#remove(tag)?.observer.failed(new ApiError(error.code, error.message, error));
    for (const tag of reply.sent ?? []) {
      const pending = this.#pending.get(tag);
      if (pending) pending.isSent = true;
      this.#unsent.get(tag)?.observer.sent?.();
      this.#unsent.delete(tag);
    }
  }

  #expire(): void {
    const now = Date.now();
    if (this.#resendAt[0]! <= now) {
      this.#resendAt.shift();
      // A command that was sent a moment ago is still on its way: ingest would execute a notice twice.
      if (!this.#isDisconnected) this.#resend(now - RESEND_MS[0]! / 2);
    }
    for (const [tag, { deadline }] of this.#pending) {
      if (deadline > now) break;
      this.#remove(tag)?.observer.failed(unavailable());
    }
    for (const [tag, { until }] of this.#unsent) {
      if (until > now) break;
      this.#unsent.delete(tag);
    }
  }

  #handleReconnect(): void {
    this.#isDisconnected = false;
    this.#batches.clear();
    this.#resend(Date.now());
    this.#resendAt = RESEND_MS.map((ms) => Date.now() + ms);
  }

  /** Sends unanswered commands queued before `until` again, in their order. ingest recognises messages that it has accepted. */
  #resend(until: number): void {
    for (const [tag, pending] of this.#pending) {
      if (pending.queuedAt > until) continue;
      pending.isResent = true;
      this.#queue(tag, pending);
    }
  }
}
