/** What a delivery is to the worker of a partition: the next one, one that it need not look at, or one too far. */
import type { Msg } from 'nats';
import { Halt } from './attempts.ts';
import { HEARTBEAT_MS } from './pulls.ts';

export interface Chain {
  /**
   * Each message names the one before it on its subject (`Nats-Expected-Last-Subject-Sequence`): where that one was not
   * read, messages are missing, and the partition stops.
   */
  chained?: boolean;
  /** Messages up to this sequence may be missing: an operator has given them up. */
  givenUp?: number;
}

export class Deliveries {
  readonly #chain: Chain;
  #expected = 0;
  #last = 0;
  /** It is known that everything up to `last` was read. */
  #anchored = false;
  /** When the consumer was reset, until its first delivery since has come. */
  #unsynced = 0;
  #skipped = false;

  constructor(chain: Chain) {
    this.#chain = chain;
  }

  /** The number of the delivery that is expected next. */
  get expected(): number {
    return this.#expected;
  }

  /** The consumer was reset: `delivery` comes next, with `seq` or a later one. `known`: all before `seq` was read. */
  begin(delivery: number, seq: number, known: boolean): void {
    this.#expected = delivery;
    this.#last = seq - 1;
    this.#anchored = known && Boolean(this.#chain.chained);
    this.#unsynced = Date.now();
    this.#skipped = false;
  }

  /** Nothing but deliveries from before the reset came for too long: the first one after it was lost. */
  stuck(now: number): boolean {
    return this.#unsynced > 0 && this.#skipped && now - this.#unsynced > 4 * HEARTBEAT_MS;
  }

  /** `gap`: a delivery before it was lost. A `Halt`: messages before it are not in the stream any more. */
  judge(message: Msg, seq: number, delivery: number): 'next' | 'passed' | 'gap' | Halt {
    if (delivery !== this.#expected) {
      // Deliveries from before the reset may still be on their way; the first one after it tells that they are over.
      this.#skipped = true;
      return seq <= this.#last || this.#unsynced > 0 ? 'passed' : 'gap';
    }
    this.#unsynced = 0;
    this.#expected++;
    if (seq <= this.#last) return 'passed';
    const missing = this.#anchored ? this.#missingBefore(message) : undefined;
    this.#anchored = Boolean(this.#chain.chained);
    this.#last = seq;
    return missing ?? 'next';
  }

  #missingBefore({ headers, subject }: Msg): Halt | undefined {
    const named = Number(headers?.get('Nats-Expected-Last-Subject-Sequence') || 0);
    if (named <= Math.max(this.#last, this.#chain.givenUp ?? 0)) return undefined;
    return new Halt(
      `entries after ${this.#last} up to ${named} of ${subject} were removed before they were read; LOG_ACCEPT_MISSING gives them up`,
      { letter: false },
    );
  }
}
