/**
 * Sends messages within pairs of devices and follows each of them. A closed load keeps a number of messages in flight; an
 * open load offers a rate, whatever the system does. Latency counts from when a message was due to be sent, so that a stall
 * is charged to every message that it held up.
 */
import { createHistogram, type RecordableHistogram } from 'node:perf_hooks';
import { sleep } from '../shared/async/sleep.ts';
import type { Pair } from './devices.ts';
import { roundTo } from './report.ts';

/** Load before a measurement starts. */
export const WARM_UP_SEC = 3;
/** Length of the message number at the start of each payload, in base 36. */
const NUMBER_DIGITS = 8;
/** An open load is offered in steps of this length, which is as exact as a timer can be. */
const STEP_MS = 1;
/** Examples of problems that are kept. */
const MAX_PROBLEMS = 5;

const createLatencyHistogram = (): RecordableHistogram =>
  createHistogram({ lowest: 1, highest: 600_000_000, figures: 3 });

export interface Percentiles {
  p50: number;
  p99: number;
  p999: number;
  max: number;
}
/** Returns percentiles of a histogram of µs, in ms. */
export function percentiles(histogram: RecordableHistogram): Percentiles {
  const ms = (us: number): number => Math.round(us / 10) / 100;
  const at = (percent: number): number => ms(histogram.percentile(percent));
  return { p50: at(50), p99: at(99), p999: at(99.9), max: ms(histogram.max) };
}

export interface TrafficResult {
  msgs_per_sec: number;
  /** Messages that were both acknowledged and delivered during the measurement. */
  messages: number;
  seconds: number;
  queued: Percentiles;
  delivered: Percentiles;
  /** Delay with which this process sent its messages after they were due. */
  late: Percentiles;
  sent: number;
  refused: number;
}

export class Traffic {
  readonly #pairs: Pair[];
  readonly #filler: string;
  /** When each message was due, by its number. */
  readonly #dueAt: number[] = [];
  /** Of each message: the lowest bit is set once it is acknowledged, the bits above count its deliveries. */
  readonly #state: number[] = [];
  readonly #queued = createLatencyHistogram();
  readonly #delivered = createLatencyHistogram();
  readonly #late = createLatencyHistogram();
  readonly #removeListeners: (() => void)[] = [];
  readonly #lastSeqs = new Map<string, number>();
  readonly problems: string[] = [];
  #isMeasuring = false;
  #isRunning = false;
  #isClosedLoad = false;
  /** Messages completed during the measurement. */
  #measured = 0;
  #completed = 0;
  #refused = 0;
  #nextPair = 0;

  constructor(pairs: Pair[], size: number) {
    this.#pairs = pairs;
    this.#filler = 'x'.repeat(Math.max(0, size - NUMBER_DIGITS));
    pairs.forEach((pair) => {
      this.#removeListeners.push(
        pair.to.on('message', ({ message }) => {
          if (message.conversation_id === pair.conversation_id)
            this.#handleDelivery(pair, message.payload ?? '', message.seq);
        }),
      );
    });
  }

  get sent(): number {
    return this.#dueAt.length;
  }

  /** Starts a closed load: keeps `inflight` messages in flight, shared by the pairs. */
  startClosed(inflight: number): void {
    this.#isRunning = this.#isClosedLoad = true;
    for (let i = 0; i < inflight; i++) this.#send(this.#pairs[i % this.#pairs.length]!, performance.now());
  }

  /** Starts an open load: offers `rate` messages a second, one pair after the other. */
  startOpen(rate: number): void {
    this.#isRunning = true;
    const startedAt = performance.now();
    const perStep = (rate * STEP_MS) / 1_000;
    let step = 0;
    let offered = 0;
    const tick = (): void => {
      if (!this.#isRunning) return;
      const now = performance.now();
      for (; startedAt + step * STEP_MS <= now; step++) {
        for (; offered < (step + 1) * perStep; offered++) {
          this.#nextPair = (this.#nextPair + 1) % this.#pairs.length;
          this.#send(this.#pairs[this.#nextPair]!, startedAt + step * STEP_MS);
        }
      }
      setTimeout(tick, Math.max(0, startedAt + step * STEP_MS - performance.now()));
    };
    tick();
  }

  /** Measures from now on, for a number of seconds or until the promise resolves. */
  async measure(until: number | Promise<unknown>): Promise<TrafficResult> {
    for (const histogram of [this.#queued, this.#delivered, this.#late]) histogram.reset();
    this.#isMeasuring = true;
    this.#measured = 0;
    const startedAt = performance.now();
    await (typeof until === 'number' ? sleep(until * 1_000) : until);
    const elapsedSec = (performance.now() - startedAt) / 1_000;
    this.#isMeasuring = false;
    const messages = this.#measured;
    return {
      msgs_per_sec: Math.round(messages / elapsedSec),
      messages,
      seconds: roundTo(elapsedSec, 2),
      queued: percentiles(this.#queued),
      delivered: percentiles(this.#delivered),
      late: percentiles(this.#late),
      sent: this.sent,
      refused: this.#refused,
    };
  }

  /** Stops sending and waits for the messages in flight. @returns problems: none, or a few examples */
  async finish(timeoutMs = 30_000): Promise<string[]> {
    this.#isRunning = false;
    const deadline = performance.now() + timeoutMs;
    while (this.#completed + this.#refused < this.sent && performance.now() < deadline) await sleep(20);
    for (const remove of this.#removeListeners) remove();
    const lost = this.#state.filter((state) => state === 1).length;
    const unanswered = this.#state.filter((state) => (state & 1) === 0).length - this.#refused;
    if (lost) this.problems.push(`${lost} messages were acknowledged and not delivered`);
    if (unanswered > 0) this.problems.push(`${unanswered} sends were not answered`);
    return this.problems;
  }

  #send(pair: Pair, dueAt: number): void {
    const { from, conversation_id } = pair;
    const i = this.#dueAt.push(dueAt) - 1;
    this.#state.push(0);
    if (this.#isMeasuring) this.#late.record(elapsedUs(dueAt));
    from.send({ conversation_id, payload: i.toString(36).padStart(NUMBER_DIGITS, '0') + this.#filler }).then(
      () => this.#handleAck(i, pair),
      (error: Error) => {
        this.#refused++;
        this.#noteProblem(`a send was refused: ${error.message}`);
      },
    );
  }

  #handleAck(i: number, pair: Pair): void {
    if (this.#isMeasuring) this.#queued.record(elapsedUs(this.#dueAt[i]!));
    const state = this.#state[i]! | 1;
    this.#state[i] = state;
    if (state > 1) this.#complete(pair);
  }

  #handleDelivery(pair: Pair, payload: string, seq: number): void {
    const i = Number.parseInt(payload.slice(0, NUMBER_DIGITS), 36);
    const before = this.#lastSeqs.get(pair.conversation_id);
    if (before !== undefined && seq !== before + 1) this.#noteProblem(`seq ${seq} came after ${before}`);
    this.#lastSeqs.set(pair.conversation_id, seq);
    if (this.#state[i] === undefined) {
      this.#noteProblem('a message came that was never sent');
      return;
    }
    if (this.#isMeasuring) this.#delivered.record(elapsedUs(this.#dueAt[i]!));
    const state = this.#state[i]! + 2;
    this.#state[i] = state;
    if (state > 3) this.#noteProblem('a message came twice');
    else if (state === 3) this.#complete(pair);
  }

  #complete(pair: Pair): void {
    this.#completed++;
    if (this.#isMeasuring) this.#measured++;
    if (this.#isRunning && this.#isClosedLoad) this.#send(pair, performance.now());
  }

  #noteProblem(problem: string): void {
    if (this.problems.length < MAX_PROBLEMS) this.problems.push(problem);
  }
}

/** Returns the time since a message was due, µs; at least 1, because a histogram takes no 0. */
const elapsedUs = (dueAt: number): number => Math.max(1, Math.round((performance.now() - dueAt) * 1_000));
