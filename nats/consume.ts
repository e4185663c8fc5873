/**
 * The one pull loop. A `Writer` is one of several processes that may work a partition; the broker serves exactly one of
 * them (a pinned-client priority group). Its life:
 *
 *   waiting ──first message──▶ taking ──takeOver(), consumer reset──▶ active ──lost pin, gap, reconnection──▶ waiting
 *
 * Order is kept by resetting the durable on every take-over: what the last owner had not acknowledged comes again, in
 * stream order, instead of whenever its ack_wait ends. Delivery sequences are contiguous, so a lost delivery shows.
 *
 * Only this loop acknowledges; attempts.ts says what becomes of a batch that fails.
 */
import type { Msg, NatsConnection, Subscription } from 'nats';
import { Attempts, type Delivered, type Entry, type Handling, pause } from './attempts.ts';
import { privateInbox } from './connect.ts';
import { placeOf } from './place.ts';
import { type Durable, HEARTBEAT_MS, makeDurable, Pulls } from './pulls.ts';

export { type Delivered, Retake } from './attempts.ts';

export interface WriterOptions<T> extends Handling<T>, Durable {
  /** Messages pulled ahead; bounds memory. */
  window: number;
  /** Batches begin at least so long after one another (ms), so that what is in no hurry gathers; 0 unless given. */
  apartMs?: number;
  /** Called when this process became the only one; returns the stream sequence to go on from, else the ack floor. */
  takeOver(): Promise<number | undefined>;
  decode(data: Uint8Array): T;
}

export class Writer<T> {
  readonly #nc: NatsConnection;
  readonly #o: WriterOptions<T>;
  readonly #attempts: Attempts<T>;
  readonly #subscription: Subscription;
  readonly #pulls: Pulls;
  readonly #timer: NodeJS.Timeout;
  #mode: 'waiting' | 'taking' | 'active' | 'closed' = 'waiting';
  /** Grows with every restart; work begun for an older life is dropped. */
  #life = 0;
  #pin = '';
  #heard = Date.now();
  #ticked = Date.now();
  #expected = 0;
  #last = 0;
  /** All up to this was handled and acknowledged, or lies before where the partition was taken over. */
  #acked = 0;
  /** When the consumer was reset, until its first delivery since has come. */
  #unsynced = 0;
  #skipped = false;
  /** What is delivered while the answer to the reset is on its way. */
  #early: Msg[] | undefined;
  #queue: Entry<T>[] = [];
  #working: Promise<void> | undefined;

  constructor(nc: NatsConnection, options: WriterOptions<T>) {
    this.#nc = nc;
    this.#o = options;
    this.#attempts = new Attempts(nc, options);
    const inbox = privateInbox(nc);
    this.#pulls = new Pulls(nc, options, inbox);
    this.#subscription = nc.subscribe(inbox, {
      callback: (error, message) => void (error || this.#receive(message)),
    });
    this.#timer = setInterval(() => this.#tick(), Math.min(250, this.#pulls.renewMs / 2)).unref();
    void this.#watch();
    this.#pull();
  }

  /** True while this process works or stands by with the broker answering. */
  ready(): true | string {
    if (Date.now() - this.#heard < 4 * HEARTBEAT_MS) return true;
    return `${this.#o.stage} ${this.#o.partition} has not heard from ${this.#o.stream} for ${Date.now() - this.#heard} ms`;
  }

  async close(): Promise<void> {
    this.#mode = 'closed';
    clearInterval(this.#timer);
    this.#subscription.unsubscribe();
    await this.#working;
  }

  #restart(): void {
    if (this.#mode === 'closed') return;
    this.#life++;
    this.#mode = 'waiting';
    this.#pulls.forget();
    this.#queue = [];
    this.#pull();
  }

  /** Still the only one, but memory can't be trusted: restore and reset without giving the partition away. */
  #retake(): void {
    this.#restart();
    if (this.#mode === 'closed') return;
    this.#mode = 'taking';
    void this.#take(this.#life);
  }

  #pull(): void {
    this.#pulls.ask(this.#mode === 'active' ? this.#o.window - this.#queue.length : 1, this.#pin);
  }

  #tick(): void {
    const now = Date.now();
    const late = now - this.#ticked > HEARTBEAT_MS;
    this.#ticked = now;
    if (this.#mode !== 'waiting') this.#pulls.renew(this.#pin);
    // It was this process that stood still: what came meanwhile is read before the next tick.
    if (late) return;
    const stuck = this.#unsynced > 0 && this.#skipped && now - this.#unsynced > 4 * HEARTBEAT_MS;
    if (stuck || now - this.#heard > 4 * HEARTBEAT_MS) {
      this.#heard = now - HEARTBEAT_MS;
      this.#restart();
    } else this.#pull();
  }

  #receive(message: Msg): void {
    this.#heard = Date.now();
    if (!message.reply) {
      this.#status(message);
      return;
    }
    this.#pulls.arrived();
    if (this.#mode === 'waiting') {
      this.#pin = message.headers?.get('Nats-Pin-Id') ?? this.#pin;
      this.#mode = 'taking';
      void this.#take(this.#life);
    } else if (this.#mode === 'taking') this.#early?.push(message);
    if (this.#mode === 'active') this.#accept(message);
    this.#pull();
  }

  #accept(message: Msg): void {
    const { seq, delivery, at, pending } = placeOf(message.reply!);
    // Somebody moved the durable back: what is done stays done, and must not be given again for ever.
    if (seq <= this.#acked) this.#nc.publish(message.reply!, '+ACK');
    if (delivery !== this.#expected) {
      // Deliveries from before the reset may still be on their way; the first one after it tells that they are over.
      this.#skipped = true;
      if (seq <= this.#last || this.#unsynced > 0) return;
      this.#o.log.warn(
        { stage: this.#o.stage, partition: this.#o.partition, expected: this.#expected, delivery },
        'a delivery is missing',
      );
      this.#restart();
      return;
    }
    this.#unsynced = 0;
    this.#expected++;
    if (seq <= this.#last) return;
    this.#last = seq;
    this.#o.metrics.lag.set({ stage: this.#o.stage, partition: this.#o.partition }, pending);
    const entry: Entry<T> = { value: undefined as T, data: message.data, seq, at, reply: message.reply! };
    try {
      entry.value = this.#o.decode(message.data);
    } catch (error) {
      entry.poison = error as Error;
    }
    this.#queue.push(entry);
    this.#working ??= this.#work().finally(() => {
      this.#working = undefined;
    });
  }

  #status(message: Msg): void {
    const code = message.headers?.code;
    if (code === 100) return;
    this.#pulls.ended(message);
    if (code === 423) {
      this.#pin = '';
      this.#restart();
    } else if (code === 503 || code === 404 || (code === 409 && /deleted/i.test(message.headers?.description ?? '')))
      void this.#recreate();
    else if (code === 408 || code === 409) this.#pull();
  }

  /** The durable is gone (a stream in memory goes with the broker, consumers and all): make it as topology says. */
  async #recreate(): Promise<void> {
    this.#restart();
    try {
      await makeDurable(this.#nc, this.#o);
      this.#o.log.info({ stage: this.#o.stage, partition: this.#o.partition }, 'durable made again');
    } catch (error) {
      this.#o.log.warn(
        { stage: this.#o.stage, partition: this.#o.partition, reason: String(error) },
        'durable could not be made',
      );
      await pause(500);
    }
    this.#restart();
  }

  async #take(life: number): Promise<void> {
    const { stage, partition, stream, consumer, log } = this.#o;
    try {
      const begun = performance.now();
      await this.#working;
      const from = await this.#o.takeOver();
      this.#early = [];
      const answer = await this.#nc.request(
        `$JS.API.CONSUMER.RESET.${stream}.${consumer.durable_name}`,
        from === undefined ? '' : JSON.stringify({ seq: from }),
        { timeout: 5_000 },
      );
      const info = answer.json() as {
        error?: { description: string };
        ack_floor: { consumer_seq: number };
        reset_seq: number;
      };
      if (info.error) throw new Error(`consumer reset: ${info.error.description}`);
      if (life !== this.#life) return;
      this.#expected = info.ack_floor.consumer_seq + 1;
      this.#last = this.#acked = info.reset_seq - 1;
      this.#unsynced = Date.now();
      this.#skipped = false;
      this.#mode = 'active';
      this.#pulls.forget();
      for (const message of this.#early.splice(0)) this.#accept(message);
      this.#o.metrics.takeovers.inc({ stage, partition });
      log.info(
        { stage, partition, from: info.reset_seq, ms: Math.round(performance.now() - begun) },
        'partition taken',
      );
      this.#pull();
    } catch (error) {
      log.warn({ stage, partition, reason: String(error) }, 'partition could not be taken, trying again');
      await pause(200);
      if (life === this.#life) this.#restart();
    }
  }

  async #work(): Promise<void> {
    while (this.#queue.length && this.#mode === 'active') {
      const life = this.#life;
      const batch = this.#queue;
      this.#queue = [];
      const begun = performance.now();
      const current = (): boolean => life === this.#life && this.#mode === 'active';
      try {
        if (!(await this.#attempts.run(batch, current)) || !current()) continue;
      } catch {
        // Retake: attempts.ts has said why.
        await pause(50);
        if (current()) this.#retake();
        return;
      }
      this.#acknowledge(batch);
      const took = performance.now() - begun;
      this.#o.metrics.seconds.observe({ stage: this.#o.stage }, took / 1_000);
      this.#pull();
      const rest = (this.#o.apartMs ?? 0) - took;
      if (rest > 1) await pause(rest);
    }
  }

  #acknowledge(batch: Delivered<T>[]): void {
    this.#acked = batch.at(-1)!.seq;
    if (this.#o.consumer.ack_policy === 'all') this.#nc.publish(batch.at(-1)!.reply, '+ACK');
    else for (const { reply } of batch) this.#nc.publish(reply, '+ACK');
  }

  async #watch(): Promise<void> {
    for await (const status of this.#nc.status()) if (status.type === 'reconnect') this.#restart();
  }
}
