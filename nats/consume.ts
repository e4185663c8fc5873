/**
 * The one pull loop. A `Writer` is one of several processes that may work a partition; the broker serves exactly one of
 * them (a pinned-client priority group). Its life:
 *
 *   waiting ──first message──▶ taking ──takeOver(), consumer reset──▶ active ──lost pin, gap, reconnection──▶ waiting
 *
 * Order is kept by resetting the durable on every take-over: what the last owner had not acknowledged comes again, in
 * stream order, instead of whenever its ack_wait ends. Delivery sequences are contiguous, so a lost delivery shows.
 *
 * Only this loop acknowledges. `decode` that throws makes a dead letter at once; `handle` that throws is tried again:
 * for ever while an engine is out of reach, else five times, then one by one, and what still fails is a dead letter.
 */
import { type ConsumerConfig, jetstreamManager } from '@nats-io/jetstream';
import { headers, type Msg, type NatsConnection, nanos, type Subscription } from 'nats';
import type { Logger } from 'pino';
import type { Metrics } from '../shared/metrics.ts';
import { isOutage } from '../shared/outage.ts';
import { privateInbox } from './connect.ts';
import { PIN_GROUP, type StreamSpec, subject } from './topology.ts';

export interface Delivered<T> {
  value: T;
  data: Uint8Array;
  /** Stream sequence. */
  seq: number;
  /** When the stream stored it, ms since 1970. */
  at: number;
  reply: string;
}
export interface WriterOptions<T> {
  stage: string;
  partition: number;
  stream: string;
  consumer: Partial<ConsumerConfig> & { durable_name: string };
  /** Made again when the broker has it no more: for a stream in memory. */
  ensure?: StreamSpec['config'];
  /** Messages pulled ahead; bounds memory. */
  window: number;
  log: Logger;
  metrics: Metrics;
  /** Called when this process became the only one; returns the stream sequence to go on from, else the ack floor. */
  takeOver(): Promise<number | undefined>;
  decode(data: Uint8Array): T;
  handle(batch: Delivered<T>[]): Promise<void>;
}

interface Entry<T> extends Delivered<T> {
  /** Why it can't be decoded, until it is a dead letter. */
  poison?: Error | undefined;
  dead?: true;
}

/** Thrown by `handle`: what is in memory can't be trusted any more, take over again. Nothing is acknowledged. */
export class Retake extends Error {}

const TRIES = 5;
const HEARTBEAT_MS = 1_000;
const EXPIRES_MS = 10_000;
const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

export class Writer<T> {
  readonly #nc: NatsConnection;
  readonly #o: WriterOptions<T>;
  readonly #subscription: Subscription;
  readonly #inbox: string;
  readonly #timer: NodeJS.Timeout;
  #mode: 'waiting' | 'taking' | 'active' | 'closed' = 'waiting';
  /** Grows with every restart; work begun for an older life is dropped. */
  #life = 0;
  #pin = '';
  #asked = 0;
  #heard = Date.now();
  #expected = 0;
  #last = 0;
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
    this.#inbox = privateInbox(nc);
    this.#subscription = nc.subscribe(this.#inbox, {
      callback: (error, message) => void (error || this.#receive(message)),
    });
    this.#timer = setInterval(() => this.#tick(), 250).unref();
    void this.#watch();
    this.#pull();
  }

  /** True while this process works or stands by with the broker answering. */
  ready(): true | string {
    if (Date.now() - this.#heard < 4 * HEARTBEAT_MS) return true;
    return `${this.#o.stage} ${this.#o.partition} has not heard from ${this.#o.stream} for ${Date.now() - this.#heard} ms`;
  }
  get active(): boolean {
    return this.#mode === 'active';
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
    this.#asked = 0;
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
    const room = this.#mode === 'active' ? this.#o.window - this.#queue.length : 1;
    if (this.#asked > room / 2 || this.#nc.isClosed()) return;
    const batch = Math.max(1, room - this.#asked);
    this.#asked += batch;
    const request = {
      batch,
      expires: nanos(EXPIRES_MS),
      idle_heartbeat: nanos(HEARTBEAT_MS),
      group: PIN_GROUP,
      ...(this.#pin ? { id: this.#pin } : {}),
    };
    this.#nc.publish(
      `$JS.API.CONSUMER.MSG.NEXT.${this.#o.stream}.${this.#o.consumer.durable_name}`,
      JSON.stringify(request),
      { reply: this.#inbox },
    );
  }

  #tick(): void {
    const stuck = this.#unsynced > 0 && this.#skipped && Date.now() - this.#unsynced > 4 * HEARTBEAT_MS;
    if (stuck || Date.now() - this.#heard > 4 * HEARTBEAT_MS) {
      this.#heard = Date.now() - HEARTBEAT_MS;
      this.#restart();
    } else this.#pull();
  }

  #receive(message: Msg): void {
    this.#heard = Date.now();
    if (!message.reply) {
      this.#status(message);
      return;
    }
    this.#asked = Math.max(0, this.#asked - 1);
    if (this.#mode === 'waiting') {
      this.#pin = message.headers?.get('Nats-Pin-Id') ?? this.#pin;
      this.#mode = 'taking';
      void this.#take(this.#life);
    } else if (this.#mode === 'taking') this.#early?.push(message);
    if (this.#mode === 'active') this.#accept(message);
    this.#pull();
  }

  #accept(message: Msg): void {
    const token = message.reply!.split('.');
    const n = token.length;
    // …<delivered>.<stream seq>.<consumer seq>.<timestamp>.<pending>, with a domain, account and random part on some servers
    const at = n === 9 ? 5 : 7;
    const seq = Number(token[at]);
    const delivery = Number(token[at + 1]);
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
    this.#o.metrics.lag.set({ stage: this.#o.stage, partition: this.#o.partition }, Number(token[at + 3]));
    const stored = Number(token[at + 2]!.slice(0, -6));
    const entry: Entry<T> = { value: undefined as T, data: message.data, seq, at: stored, reply: message.reply! };
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
    const left = Number(message.headers?.get('Nats-Pending-Messages') ?? 0);
    this.#asked = Math.max(0, this.#asked - left);
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
      const manager = await jetstreamManager(this.#nc, { checkAPI: false });
      if (this.#o.ensure) await manager.streams.add(this.#o.ensure);
      await manager.consumers.add(this.#o.stream, this.#o.consumer);
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
      this.#last = info.reset_seq - 1;
      this.#unsynced = Date.now();
      this.#skipped = false;
      this.#mode = 'active';
      this.#asked = 0;
      for (const message of this.#early.splice(0)) this.#accept(message);
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
      const done = await this.#try(batch, life);
      if (!done || life !== this.#life) continue;
      this.#acknowledge(batch);
      this.#o.metrics.seconds.observe({ stage: this.#o.stage }, (performance.now() - begun) / 1_000);
      this.#pull();
    }
  }

  #acknowledge(batch: Delivered<T>[]): void {
    if (this.#o.consumer.ack_policy === 'all') this.#nc.publish(batch.at(-1)!.reply, '+ACK');
    else for (const { reply } of batch) this.#nc.publish(reply, '+ACK');
  }

  async #try(batch: Entry<T>[], life: number): Promise<boolean> {
    for (let tries = 1; life === this.#life && this.#mode === 'active'; ) {
      try {
        for (const entry of batch) if (entry.poison) await this.#bury(entry, entry.poison);
        const sound = batch.filter(({ dead }) => !dead);
        if (sound.length) await this.#o.handle(sound);
        return true;
      } catch (error) {
        const { stage, partition, log } = this.#o;
        log.warn({ stage, partition, entries: batch.length, tries, err: error }, 'batch failed');
        if (error instanceof Retake) {
          await pause(50);
          if (life === this.#life) this.#retake();
          return false;
        }
        if (isOutage(error)) tries = 1;
        else if (++tries > TRIES) return this.#isolate(batch, life, error);
        await pause(Math.min(2_000, 50 * 2 ** tries));
      }
    }
    return false;
  }

  async #isolate(batch: Entry<T>[], life: number, error: unknown): Promise<boolean> {
    if (batch.length === 1) {
      await this.#bury(batch[0]!, error);
      return true;
    }
    for (const entry of batch) if (!(await this.#try([entry], life))) return false;
    return true;
  }

  async #bury(entry: Entry<T>, error: unknown): Promise<void> {
    const { stage, partition, stream } = this.#o;
    const reason = error instanceof Error ? error.message : String(error);
    const about = headers();
    about.set('Sealwire-Stage', stage);
    about.set('Sealwire-Reason', reason.slice(0, 200).replaceAll(/[^ -~]/g, '?'));
    about.set('Sealwire-Origin', `${stream}.${entry.seq}`);
    const stored = await this.#nc.request(subject.dead(stage), entry.data, { headers: about, timeout: 5_000 });
    if ((stored.json() as { error?: unknown }).error) throw new Error('the dead letter could not be stored');
    this.#o.metrics.dead.inc({ stage, reason: error instanceof Error ? error.name : 'unknown' });
    this.#o.log.error({ stage, partition, origin: `${stream}.${entry.seq}`, reason }, 'dead letter');
    entry.poison = undefined;
    entry.dead = true;
  }

  async #watch(): Promise<void> {
    for await (const status of this.#nc.status()) if (status.type === 'reconnect') this.#restart();
  }
}
