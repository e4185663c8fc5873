/** What a delivery is to the worker of a partition: the next one, one that it need not look at, or one too far. */
import { JetStreamApiError } from '@nats-io/jetstream';
import type { Msg, NatsConnection } from 'nats';
import type { Logger } from 'pino';
import { Halt } from './batch-runner.ts';
import { jetstreamManager } from './jetstream-manager.ts';
import { HEARTBEAT_MS } from './pull-requests.ts';

export interface Chain {
  /**
   * Each message names the one before it on its subject (`Nats-Expected-Last-Subject-Sequence`): where that one was not
   * read, messages are missing, and the partition stops.
   */
  chained?: boolean;
  /** Messages up to this sequence may be missing: an operator has given them up. */
  givenUp?: number;
}

/** Messages of a subject that come after `after`, up to `last`, were not delivered. */
export class Missing extends Halt {
  readonly subject: string;
  readonly after: number;
  readonly last: number;

  constructor(subject: string, after: number, last: number) {
    super(
      `entries after ${after} up to ${last} of ${subject} were removed before they were read; LOG_ACCEPT_MISSING gives them up`,
      { letter: false },
    );
    this.subject = subject;
    this.after = after;
    this.last = last;
  }

  /**
   * Whether the stream holds none of them. It does when the broker, while it reset the consumer, delivered what it had in
   * hand as the first message after the reset (seen with nats-server 2.14.0).
   */
  async areRemoved(nc: NatsConnection, stream: string): Promise<boolean> {
    const query = { seq: this.after + 1, next_by_subj: this.subject };
    try {
      const next = await (await jetstreamManager(nc)).direct.getMessage(stream, query);
      return !next || next.seq > this.last;
    } catch (error) {
      if (error instanceof JetStreamApiError && error.code === NO_MESSAGE) return true;
      throw error;
    }
  }
}
const NO_MESSAGE = 10037;

/** False when entries seem to be missing and the stream has them, or does not answer: the next take-over reads them. */
export async function isFinal(halt: Halt, nc: NatsConnection, stream: string, log: Logger): Promise<boolean> {
  if (!(halt instanceof Missing)) return true;
  const removed = await halt.areRemoved(nc, stream).catch(() => false);
  if (!removed) log.warn({ after: halt.after, upTo: halt.last }, 'entries were passed over: reading them again');
  return removed;
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

  /** `gap`: a delivery before it was lost. `Missing`: messages before it were not delivered, and may not be in the stream. */
  judge(message: Msg, seq: number, delivery: number): 'next' | 'passed' | 'gap' | Missing {
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

  #missingBefore({ headers, subject }: Msg): Missing | undefined {
    const named = Number(headers?.get('Nats-Expected-Last-Subject-Sequence') || 0);
    if (named <= Math.max(this.#last, this.#chain.givenUp ?? 0)) return undefined;
    return new Missing(subject, Math.max(this.#last, this.#chain.givenUp ?? 0), named);
  }
}
