/**
 * Messages from one half of the devices to the other, and what became of each. Closed: so many are on their way at
 * once. Open: so many a second, whatever the system does. Latency counts from when a message was meant to be sent.
 */
import { createHistogram, type RecordableHistogram } from 'node:perf_hooks';
import type { Pair } from './crowd.ts';

const US = 1_000;
const DIGITS = 8;
/** An open load is offered in steps of so many ms, which is what a timer can keep. */
const STEP_MS = 1;

const histogram = (): RecordableHistogram => createHistogram({ lowest: 1, highest: 600_000_000, figures: 3 });

export interface Percentiles {
  p50: number;
  p99: number;
  p999: number;
  max: number;
}
/** In ms. */
export function percentiles(of: RecordableHistogram): Percentiles {
  const ms = (us: number): number => Math.round(us / 10) / 100;
  return { p50: ms(of.percentile(50)), p99: ms(of.percentile(99)), p999: ms(of.percentile(99.9)), max: ms(of.max) };
}

export interface TrafficResult {
  msgs_per_sec: number;
  /** Completed (queued said and delivered) while it was measured. */
  messages: number;
  seconds: number;
  queued: Percentiles;
  delivered: Percentiles;
  /** By how much this process sent later than it meant to. */
  late: Percentiles;
  sent: number;
  refused: number;
}

export class Traffic {
  readonly #pairs: Pair[];
  readonly #filler: string;
  readonly #due: number[] = [];
  /** Bit 1: queued was said; bits 2 and up count deliveries. */
  readonly #state: number[] = [];
  readonly #queued = histogram();
  readonly #delivered = histogram();
  readonly #late = histogram();
  readonly #off: (() => void)[] = [];
  readonly #seqs = new Map<string, number>();
  readonly wrong: string[] = [];
  #measuring = false;
  #running = false;
  #closed = false;
  #completed = 0;
  #done = 0;
  #refused = 0;
  #next = 0;

  constructor(pairs: Pair[], size: number) {
    this.#pairs = pairs;
    this.#filler = 'x'.repeat(Math.max(0, size - DIGITS));
    pairs.forEach((pair) => {
      this.#off.push(
        pair.to.on('message', ({ message }) => {
          if (message.conversation_id === pair.conversation_id) this.#got(pair, message.payload ?? '', message.seq);
        }),
      );
    });
  }

  get sent(): number {
    return this.#due.length;
  }
  get completed(): number {
    return this.#done;
  }

  /** Keeps `inflight` messages on their way, shared by the pairs. */
  closed(inflight: number): void {
    this.#running = this.#closed = true;
    for (let i = 0; i < inflight; i++) this.#send(this.#pairs[i % this.#pairs.length]!, performance.now());
  }

  /** Offers `rate` messages a second, one pair after the other. */
  open(rate: number): void {
    this.#running = true;
    const begun = performance.now();
    const perStep = (rate * STEP_MS) / 1_000;
    let step = 0;
    let offered = 0;
    const tick = (): void => {
      if (!this.#running) return;
      const now = performance.now();
      for (; begun + step * STEP_MS <= now; step++) {
        for (; offered < (step + 1) * perStep; offered++) {
          this.#next = (this.#next + 1) % this.#pairs.length;
          this.#send(this.#pairs[this.#next]!, begun + step * STEP_MS);
        }
      }
      setTimeout(tick, Math.max(0, begun + step * STEP_MS - performance.now()));
    };
    tick();
  }

  /** Counts what completes and times what comes from now on, for so many seconds or until the promise resolves. */
  async measure(until: number | Promise<unknown>): Promise<TrafficResult> {
    for (const one of [this.#queued, this.#delivered, this.#late]) one.reset();
    this.#measuring = true;
    this.#completed = 0;
    const begun = performance.now();
    await (typeof until === 'number' ? new Promise((resolve) => setTimeout(resolve, until * 1_000)) : until);
    const took = (performance.now() - begun) / 1_000;
    this.#measuring = false;
    const messages = this.#completed;
    return {
      msgs_per_sec: Math.round(messages / took),
      messages,
      seconds: Math.round(took * 100) / 100,
      queued: percentiles(this.#queued),
      delivered: percentiles(this.#delivered),
      late: percentiles(this.#late),
      sent: this.sent,
      refused: this.#refused,
    };
  }

  /** Stops sending, waits for what is on its way, and says what is wrong with what came: nothing, or a few examples. */
  async finish(timeoutMs = 30_000): Promise<string[]> {
    this.#running = false;
    const deadline = performance.now() + timeoutMs;
    while (this.#done + this.#refused < this.sent && performance.now() < deadline)
      await new Promise((resolve) => setTimeout(resolve, 20));
    for (const off of this.#off) off();
    const lost = this.#state.filter((state) => state === 1).length;
    const unanswered = this.#state.filter((state) => (state & 1) === 0).length - this.#refused;
    if (lost) this.wrong.push(`${lost} messages were queued and not delivered`);
    if (unanswered > 0) this.wrong.push(`${unanswered} sends were not answered`);
    return this.wrong;
  }

  #send(pair: Pair, due: number): void {
    const { from, conversation_id } = pair;
    const i = this.#due.push(due) - 1;
    this.#state.push(0);
    if (this.#measuring) this.#late.record(span(due));
    from.send({ conversation_id, payload: i.toString(36).padStart(DIGITS, '0') + this.#filler }).then(
      () => this.#answered(i, pair),
      (error: Error) => {
        this.#refused++;
        this.#note(`a send was refused: ${error.message}`);
      },
    );
  }

  #answered(i: number, pair: Pair): void {
    if (this.#measuring) this.#queued.record(span(this.#due[i]!));
    const state = this.#state[i]! | 1;
    this.#state[i] = state;
    if (state > 1) this.#complete(pair);
  }

  #got(pair: Pair, payload: string, seq: number): void {
    const i = Number.parseInt(payload.slice(0, DIGITS), 36);
    const before = this.#seqs.get(pair.conversation_id);
    if (before !== undefined && seq !== before + 1) this.#note(`seq ${seq} came after ${before}`);
    this.#seqs.set(pair.conversation_id, seq);
    if (this.#state[i] === undefined) {
      this.#note('a message came that nobody sent');
      return;
    }
    if (this.#measuring) this.#delivered.record(span(this.#due[i]!));
    const state = this.#state[i]! + 2;
    this.#state[i] = state;
    if (state > 3) this.#note('a message came twice');
    else if (state === 3) this.#complete(pair);
  }

  #complete(pair: Pair): void {
    this.#done++;
    if (this.#measuring) this.#completed++;
    if (this.#running && this.#closed) this.#send(pair, performance.now());
  }

  #note(what: string): void {
    if (this.wrong.length < 5) this.wrong.push(what);
  }
}

/** µs since then, for a histogram, which knows no 0. */
const span = (due: number): number => Math.max(1, Math.round((performance.now() - due) * US));
