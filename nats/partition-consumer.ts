/**
 * Consumes one partition. A `PartitionConsumer` runs in each of several processes that may work the partition; the broker
 * serves exactly one of them (a pinned-client priority group). Its modes:
 *
 *   waiting ──first message──▶ taking ──restore(), consumer reset──▶ active ──lost pin, gap, reconnection──▶ waiting
 *
 * Order is kept by resetting the durable on every take-over: what the last owner had not acknowledged is delivered again, in
 * stream order, instead of whenever its ack_wait ends. Delivery sequences are contiguous, so a lost delivery shows.
 *
 * Only this class acknowledges; batch-runner.ts decides what becomes of a batch that fails.
 */
import type { Msg, NatsConnection, Subscription } from 'nats';
import type { Logger } from 'pino';
import { sleep } from '../shared/async/sleep.ts';
import { parseAckSubject } from './ack-subject.ts';
import { acknowledge, type BatchMessage, BatchRunner, decodeMessage, HaltRequired, PinLost } from './batch-runner.ts';
import { privateInbox, watchConnection } from './connect.ts';
import { ConsumerMonitor } from './consumer-monitor.ts';
import { DeliverySequence, isHaltConfirmed } from './delivery-sequence.ts';
import { DurableRecovery } from './durable.ts';
import type { PartitionConsumerOptions } from './partition-consumer-options.ts';
import { PullRequests, statusOf } from './pull-requests.ts';
import { TakeOver } from './take-over.ts';
import { Watchdog } from './watchdog.ts';

export { HaltRequired, RestoreRequired, type StreamMessage } from './batch-runner.ts';

export class PartitionConsumer<T> {
  readonly #nc: NatsConnection;
  readonly #options: PartitionConsumerOptions<T>;
  readonly #log: Logger;
  readonly #runner: BatchRunner<T>;
  readonly #subscription: Subscription;
  readonly #pulls: PullRequests;
  readonly #monitor: ConsumerMonitor;
  readonly #recovery: DurableRecovery;
  readonly #sequence: DeliverySequence;
  readonly #takeOver: TakeOver;
  /** Restarts the pulls; `/ready` reads another clock, ConsumerMonitor.lastHeardAt. */
  readonly #watchdog = new Watchdog();
  readonly #timer: NodeJS.Timeout;
  /** A halted consumer keeps its pin: another process would meet the same message. */
  #mode: 'waiting' | 'taking' | 'active' | 'halted' | 'closed' = 'waiting';
  #haltReason = '';
  /** Incremented on every restart; async work begun in an older term discards its result. */
  #term = 0;
  #pin = '';
  /** Everything up to this stream sequence was handled and acknowledged, or lies before the take-over. */
  #ackedSeq = 0;
  #queue: BatchMessage<T>[] = [];
  #working: Promise<void> | undefined;

  constructor(nc: NatsConnection, options: PartitionConsumerOptions<T>) {
    this.#nc = nc;
    this.#options = options;
    this.#runner = new BatchRunner(nc, options);
    this.#log = options.log.child({ stage: options.stage, partition: options.partition });
    this.#sequence = new DeliverySequence(options);
    this.#recovery = new DurableRecovery(nc, options, this.#log);
    this.#takeOver = new TakeOver(nc, options, this.#log);
    this.#monitor = new ConsumerMonitor(nc, options, () => this.ready() === true);
    const inbox = privateInbox(nc);
    this.#pulls = new PullRequests(nc, options, inbox);
    this.#subscription = nc.subscribe(inbox, {
      callback: (error, message) =>
        void (error || (message.reply ? this.#receive(message) : this.#handleStatus(message))),
    });
    this.#timer = setInterval(() => this.#tick(), Math.min(250, this.#pulls.renewMs / 2)).unref();
    // On a lost connection too: batches in hand must not reach the broker that answers next, which may have lost more.
    watchConnection(nc, { onDisconnect: () => this.#restart(), onReconnect: () => this.#restart() });
    this.#pull();
  }

  /** True while the broker answers and this process works or stands by; otherwise what is wrong. */
  ready(): true | string {
    if (this.#haltReason) return `${this.#options.stage} ${this.#options.partition} has stopped: ${this.#haltReason}`;
    return this.#monitor.ready(this.#mode === 'active', this.#runner.failing ?? this.#takeOver.failing);
  }

  /** Since when the broker answers that JetStream does not serve the durable (ms since 1970); undefined while it does. */
  get refusesSince(): number | undefined {
    return this.#monitor.refusesSince;
  }

  /** Takes the partition over again without giving it away: the worker's memory is out of date. */
  requestRestore(): void {
    if (this.#mode !== 'active' && this.#mode !== 'taking') return;
    this.#restart();
    this.#mode = 'taking';
    void this.#take(this.#term);
  }

  async close(): Promise<void> {
    this.#mode = 'closed';
    clearInterval(this.#timer);
    this.#monitor.close();
    this.#subscription.unsubscribe();
    await this.#working;
  }

  #restart(): void {
    if (this.#mode === 'closed' || this.#mode === 'halted') return;
    this.#term++;
    this.#mode = 'waiting';
    this.#pulls.reset();
    this.#queue = [];
    this.#pull();
  }

  #halt(reason: string): void {
    if (this.#mode === 'closed') return;
    this.#mode = 'halted';
    this.#haltReason = reason;
    this.#queue = [];
    this.#options.metrics.stopped.set({ stage: this.#options.stage, partition: this.#options.partition }, 1);
    this.#log.error({ reason }, 'the partition has stopped: see docs/operations.md');
  }

  #pull(): void {
    // Deliveries during a take-over would come again after it; meanwhile the renewals keep the pin.
    if (this.#recovery.isRunning || this.#mode === 'halted' || this.#mode === 'taking') return;
    this.#pulls.request(this.#mode === 'active' ? this.#options.window - this.#queue.length : 1, this.#pin);
  }

  #tick(): void {
    const now = Date.now();
    const wasFrozen = this.#watchdog.tick(now);
    // Nothing waits any more: another process has handled what failed here.
    if (this.#monitor.isIdle && !this.#working) this.#runner.resetFailures();
    if (this.#mode !== 'waiting') this.#pulls.renew(this.#pin);
    if (wasFrozen) return;
    if (this.#sequence.isStuck(now) || this.#watchdog.isSilent(now)) {
      this.#watchdog.restart(now);
      this.#restart();
    } else this.#pull();
  }

  #receive(message: Msg): void {
    this.#watchdog.recordHeard();
    this.#recordServed();
    this.#pulls.countArrival();
    if (this.#mode === 'waiting') {
      this.#pin = message.headers?.get('Nats-Pin-Id') ?? this.#pin;
      this.#mode = 'taking';
      void this.#take(this.#term);
    } else if (this.#mode === 'taking') this.#takeOver.keepEarly(message);
    if (this.#mode === 'active') this.#accept(message);
    this.#pull();
  }

  #accept(message: Msg): void {
    const { seq, delivery, at } = parseAckSubject(message.reply!);
    // Somebody has moved the durable back: what is done stays done, and must not be delivered again for ever.
    if (seq <= this.#ackedSeq) this.#nc.publish(message.reply!, '+ACK');
    const verdict = this.#sequence.classify(message, seq, delivery);
    if (verdict === 'gap') {
      this.#log.warn({ expected: this.#sequence.expected, delivery }, 'a delivery is missing');
      this.#restart();
      return;
    }
    if (verdict === 'ignored') return;
    const entry = decodeMessage(message, { seq, at }, this.#options.decode);
    if (verdict !== 'next') entry.poison = verdict;
    this.#queue.push(entry);
    this.#working ??= this.#work().finally(() => {
      this.#working = undefined;
    });
  }

  /** JetStream serves this durable. */
  #recordServed(): void {
    this.#monitor.lastHeardAt = Date.now();
    this.#recovery.resetBackoff();
  }

  #handleStatus(message: Msg): void {
    this.#watchdog.recordHeard();
    const status = statusOf(message);
    if (status !== 'not served') this.#recordServed();
    if (status === 'heartbeat') return;
    this.#pulls.handleEnd(message);
    if (status === 'pin lost') {
      this.#pin = '';
      this.#runner.resetFailures();
      this.#takeOver.resetFailures();
      this.#restart();
    } else if (status === 'not served' || status === 'durable gone') void this.#recoverDurable();
    else if (status === 'request ended') this.#pull();
  }

  async #recoverDurable(): Promise<void> {
    if (this.#recovery.isRunning || this.#mode === 'halted') return;
    this.#restart();
    await this.#recovery.run(() => this.#mode !== 'closed');
    this.#restart();
  }

  async #take(term: number): Promise<void> {
    try {
      const begun = performance.now();
      await this.#working;
      const { delivery, seq, known, early } = await this.#takeOver.run();
      if (term !== this.#term) return;
      this.#ackedSeq = seq - 1;
      this.#sequence.reset(delivery, seq, known);
      this.#mode = 'active';
      this.#pulls.reset();
      for (const message of early.splice(0)) this.#accept(message);
      this.#takeOver.resetFailures();
      this.#options.metrics.takeovers.inc({ stage: this.#options.stage, partition: this.#options.partition });
      this.#log.info({ from: seq, ms: Math.round(performance.now() - begun) }, 'partition taken');
      this.#pull();
    } catch (error) {
      if (error instanceof HaltRequired && term === this.#term) return this.#halt(error.message);
      await this.#takeOver.waitAfter(error);
      if (term === this.#term) this.#restart();
    }
  }

  async #work(): Promise<void> {
    while (this.#queue.length && this.#mode === 'active') {
      const term = this.#term;
      const batch = this.#queue;
      this.#queue = [];
      const begun = performance.now();
      const isCurrent = (): boolean => term === this.#term && this.#mode === 'active';
      const confirmPin = async (): Promise<void> => {
        if (!isCurrent() || !(await this.#pulls.holdsPin(this.#pin)) || !isCurrent())
          throw new PinLost('another process may own the partition');
      };
      try {
        if (!(await this.#runner.run(batch, isCurrent, confirmPin)) || !isCurrent()) continue;
      } catch (error) {
        if ((await isHaltConfirmed(error, this.#nc, this.#options.stream, this.#log)) && isCurrent())
          return this.#halt((error as HaltRequired).message);
        // Otherwise a restore is required; batch-runner.ts has logged why.
        await sleep(this.#runner.restoreWaitMs);
        if (isCurrent()) this.requestRestore();
        return;
      }
      this.#ackedSeq = batch.at(-1)!.seq;
      acknowledge(this.#nc, this.#options.consumer.ack_policy === 'all' ? batch.slice(-1) : batch);
      const tookMs = performance.now() - begun;
      this.#monitor.recordBatch(tookMs);
      this.#pull();
      const remainingMs = (this.#options.apartMs ?? 0) - tookMs;
      if (remainingMs > 1) await sleep(remainingMs);
    }
  }
}
