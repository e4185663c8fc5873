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
import type { Logger } from 'pino';
import { parseAckSubject } from './ack-subject.ts';
import { Backoff } from './backoff.ts';
import { acknowledge, BatchRunner, type Entry, entryOf, Halt, PinLost, pause } from './batch-runner.ts';
import { privateInbox } from './connect.ts';
import { ConsumerMonitor } from './consumer-monitor.ts';
import { Deliveries, isFinal } from './deliveries.ts';
import { RETRY_CAP_MS, Recovery, resetDurable } from './durable.ts';
import type { PartitionConsumerOptions } from './partition-consumer-options.ts';
import { HEARTBEAT_MS, PullRequests } from './pull-requests.ts';

export { type Delivered, Halt, RestoreRequired } from './batch-runner.ts';
export type { PartitionConsumerOptions } from './partition-consumer-options.ts';

export class PartitionConsumer<T> {
  readonly #nc: NatsConnection;
  readonly #o: PartitionConsumerOptions<T>;
  readonly #log: Logger;
  readonly #attempts: BatchRunner<T>;
  readonly #subscription: Subscription;
  readonly #pulls: PullRequests;
  readonly #standing: ConsumerMonitor;
  readonly #recovery: Recovery;
  readonly #deliveries: Deliveries;
  readonly #takes = new Backoff(200, RETRY_CAP_MS);
  readonly #timer: NodeJS.Timeout;
  /** Halted, it keeps its pin: another process would meet the same. */
  #mode: 'waiting' | 'taking' | 'active' | 'halted' | 'closed' = 'waiting';
  #halted = '';
  /** Grows with every restart; work begun for an older life is dropped. */
  #life = 0;
  #pin = '';
  /** When a pull was answered last, or the watchdog began anew. What `/ready` reads is another clock: Standing. */
  #heard = Date.now();
  #ticked = Date.now();
  /** All up to this was handled and acknowledged, or lies before where the partition was taken over. */
  #acked = 0;
  /** What is delivered while the answer to the reset is on its way. */
  #early: Msg[] | undefined;
  #queue: Entry<T>[] = [];
  #working: Promise<void> | undefined;

  constructor(nc: NatsConnection, options: PartitionConsumerOptions<T>) {
    this.#nc = nc;
    this.#o = options;
    this.#attempts = new BatchRunner(nc, options);
    this.#log = options.log.child({ stage: options.stage, partition: options.partition });
    this.#deliveries = new Deliveries(options);
    this.#recovery = new Recovery(nc, options, this.#log);
    this.#standing = new ConsumerMonitor(nc, options, () => this.ready());
    const inbox = privateInbox(nc);
    this.#pulls = new PullRequests(nc, options, inbox);
    const callback = (error: Error | null, message: Msg): void => void (error || this.#receive(message));
    this.#subscription = nc.subscribe(inbox, { callback });
    this.#timer = setInterval(() => this.#tick(), Math.min(250, this.#pulls.renewMs / 2)).unref();
    void this.#watch();
    this.#pull();
  }

  /** True while the broker answers and this process works or stands by; otherwise what is wrong. */
  ready(): true | string {
    if (this.#halted) return `${this.#o.stage} ${this.#o.partition} has stopped: ${this.#halted}`;
    const { since } = this.#takes;
    const taking = since === undefined ? undefined : { since, reason: 'the partition cannot be taken' };
    return this.#standing.ready(this.#mode === 'active', this.#attempts.failing ?? taking);
  }

  get refusedSince(): number | undefined {
    return this.#standing.refusesSince;
  }

  /** Takes the partition over again without giving it away: the caller knows that the worker's memory is out of date. */
  retake(): void {
    if (this.#mode === 'active' || this.#mode === 'taking') this.#retake();
  }

  async close(): Promise<void> {
    this.#mode = 'closed';
    clearInterval(this.#timer);
    this.#standing.close();
    this.#subscription.unsubscribe();
    await this.#working;
  }

  #restart(): void {
    if (this.#mode === 'closed' || this.#mode === 'halted') return;
    this.#life++;
    this.#mode = 'waiting';
    this.#pulls.forget();
    this.#queue = [];
    this.#pull();
  }

  /** Still the only one, but memory can't be trusted: restore and reset without giving the partition away. */
  #retake(): void {
    this.#restart();
    if (this.#mode !== 'waiting') return;
    this.#mode = 'taking';
    void this.#take(this.#life);
  }

  #halt(reason: string): void {
    if (this.#mode === 'closed') return;
    this.#mode = 'halted';
    this.#halted = reason;
    this.#queue = [];
    this.#o.metrics.stopped.set({ stage: this.#o.stage, partition: this.#o.partition }, 1);
    this.#log.error({ reason }, 'the partition has stopped: see docs/operations.md');
  }

  #pull(): void {
    // What comes while it is being taken would be given again: the renewals keep the pin.
    if (this.#recovery.running || this.#mode === 'halted' || this.#mode === 'taking') return;
    this.#pulls.ask(this.#mode === 'active' ? this.#o.window - this.#queue.length : 1, this.#pin);
  }

  #tick(): void {
    const now = Date.now();
    const late = now - this.#ticked > HEARTBEAT_MS;
    this.#ticked = now;
    // There is nothing to do: what failed was done by another process.
    if (this.#standing.idle && !this.#working) this.#attempts.forget();
    if (this.#mode !== 'waiting') this.#pulls.renew(this.#pin);
    // It was this process that stood still: what came meanwhile is read before the next tick.
    if (late) return;
    if (this.#deliveries.stuck(now) || now - this.#heard > 4 * HEARTBEAT_MS) {
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
    this.#served();
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
    const { seq, delivery, at } = parseAckSubject(message.reply!);
    // Somebody moved the durable back: what is done stays done, and must not be given again for ever.
    if (seq <= this.#acked) this.#nc.publish(message.reply!, '+ACK');
    const verdict = this.#deliveries.judge(message, seq, delivery);
    if (verdict === 'gap') {
      this.#log.warn({ expected: this.#deliveries.expected, delivery }, 'a delivery is missing');
      this.#restart();
      return;
    }
    if (verdict === 'passed') return;
    const entry = entryOf(message, { seq, at }, this.#o.decode);
    if (verdict !== 'next') entry.poison = verdict;
    this.#queue.push(entry);
    this.#working ??= this.#work().finally(() => {
      this.#working = undefined;
    });
  }

  /** JetStream serves this durable. */
  #served(): void {
    this.#standing.heard = Date.now();
    this.#recovery.served();
  }

  #status(message: Msg): void {
    const code = message.headers?.code;
    if (code !== 503) this.#served();
    if (code === 100) return;
    this.#pulls.ended(message);
    if (code === 423) {
      this.#pin = '';
      this.#attempts.forget();
      this.#takes.succeed();
      this.#restart();
    } else if (code === 503 || code === 404 || (code === 409 && /deleted/i.test(message.headers?.description ?? '')))
      void this.#recover();
    else if (code === 408 || code === 409) this.#pull();
  }

  async #recover(): Promise<void> {
    if (this.#recovery.running || this.#mode === 'halted') return;
    this.#restart();
    await this.#recovery.run(() => this.#mode !== 'closed');
    this.#restart();
  }

  async #take(life: number): Promise<void> {
    try {
      const begun = performance.now();
      await this.#working;
      const from = await this.#o.takeOver();
      this.#early = [];
      const { delivery, seq } = await resetDurable(this.#nc, this.#o, from);
      if (life !== this.#life) return;
      this.#acked = seq - 1;
      // A durable that nothing was ever read of may begin where the stream begins now.
      this.#deliveries.begin(delivery, seq, from !== undefined || seq > 1);
      this.#mode = 'active';
      this.#pulls.forget();
      for (const message of this.#early.splice(0)) this.#accept(message);
      this.#takes.succeed();
      this.#o.metrics.takeovers.inc({ stage: this.#o.stage, partition: this.#o.partition });
      this.#log.info({ from: seq, ms: Math.round(performance.now() - begun) }, 'partition taken');
      this.#pull();
    } catch (error) {
      if (error instanceof Halt && life === this.#life) return this.#halt(error.message);
      const { waitMs, say } = this.#takes.fail();
      const tries = this.#takes.count;
      if (say) this.#log.warn({ tries, reason: String(error) }, 'partition could not be taken, trying again');
      await pause(waitMs);
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
      const fence = async (): Promise<void> => {
        if (!current() || !(await this.#pulls.holds(this.#pin)) || !current()) throw new PinLost('the pin is not ours');
      };
      try {
        if (!(await this.#attempts.run(batch, current, fence)) || !current()) continue;
      } catch (error) {
        if (error instanceof Halt && (await isFinal(error, this.#nc, this.#o.stream, this.#log)) && current())
          return this.#halt(error.message);
        // A Retake: attempts.ts has said why.
        await pause(this.#attempts.retakeWaitMs);
        if (current()) this.#retake();
        return;
      }
      this.#acked = batch.at(-1)!.seq;
      acknowledge(this.#nc, this.#o.consumer.ack_policy === 'all' ? batch.slice(-1) : batch);
      this.#standing.finished(performance.now() - begun);
      const took = performance.now() - begun;
      this.#pull();
      const rest = (this.#o.apartMs ?? 0) - took;
      if (rest > 1) await pause(rest);
    }
  }

  async #watch(): Promise<void> {
    // Also when it breaks: what is in hand must not be written to the broker that comes next, which may have lost more.
    for await (const { type } of this.#nc.status()) if (type === 'disconnect' || type === 'reconnect') this.#restart();
  }
}
