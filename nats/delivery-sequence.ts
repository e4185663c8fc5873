/** Checks the order of a consumer's deliveries: whether one is the next, need not be looked at, or shows that others are missing. */
import type { Msg, NatsConnection } from 'nats';
import type { Logger } from 'pino';
import { HaltRequired } from './batch-runner.ts';
import { isNoMessage } from './errors.ts';
import { jetstreamManager } from './jetstream-manager.ts';
import { EXPECTED_LAST } from './js-api.ts';

import { HEARTBEAT_MS } from './pull-requests.ts';

export interface ChainOptions {
  /**
   * Each message names the one before it on its subject (`Nats-Expected-Last-Subject-Sequence`): where that one was not
   * read, messages are missing, and the partition stops.
   */
  chained?: boolean;
  /** Messages up to this sequence may be missing: an operator has accepted it. */
  acceptMissingUpTo?: number;
}

/** Messages of a subject that come after `after`, up to `last`, were not delivered. */
export class EntriesMissing extends HaltRequired {
  readonly subject: string;
  readonly after: number;
  readonly last: number;

  constructor(subject: string, after: number, last: number) {
    super(
      `entries after ${after} up to ${last} of ${subject} were removed before they were read; to go on without them, accept that with LOG_ACCEPT_MISSING`,
      { storesDeadLetter: false },
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
      if (isNoMessage(error)) return true;
      throw error;
    }
  }
}

/**
 * Confirms that an error has to stop the partition. False when entries seem to be missing although the stream has them, or
 * when the stream does not answer: the next restore reads them again.
 */
export async function isHaltConfirmed(
  error: unknown,
  nc: NatsConnection,
  stream: string,
  log: Logger,
): Promise<boolean> {
  if (!(error instanceof EntriesMissing)) return error instanceof HaltRequired;
  const removed = await error.areRemoved(nc, stream).catch(() => false);
  if (!removed) log.warn({ after: error.after, upTo: error.last }, 'entries were not delivered: reading them again');
  return removed;
}

export class DeliverySequence {
  readonly #options: ChainOptions;
  #expected = 0;
  /** Stream sequence of the last message that was read. */
  #lastSeq = 0;
  /** Everything up to `#lastSeq` is known to have been read. */
  #anchored = false;
  /** When the consumer was reset (ms since 1970), until its first delivery since has come; then 0. */
  #awaitingSince = 0;
  /** Deliveries from before the reset came meanwhile. */
  #sawOld = false;

  constructor(options: ChainOptions) {
    this.#options = options;
  }

  /** The number of the delivery that is expected next. */
  get expected(): number {
    return this.#expected;
  }

  /**
   * Begins again after the consumer was reset: `delivery` comes next, with the stream sequence `seq` or a later one. `known`:
   * everything before `seq` was read.
   */
  reset(delivery: number, seq: number, known: boolean): void {
    this.#expected = delivery;
    this.#lastSeq = seq - 1;
    this.#anchored = known && Boolean(this.#options.chained);
    this.#awaitingSince = Date.now();
    this.#sawOld = false;
  }

  /** Whether only deliveries from before the reset came for too long: then the first one after it was lost. */
  isStuck(now: number): boolean {
    return this.#awaitingSince > 0 && this.#sawOld && now - this.#awaitingSince > 4 * HEARTBEAT_MS;
  }

  /**
   * Classifies a delivery. `ignored`: it was read already or comes from before the reset. `gap`: a delivery before it was lost.
   * `EntriesMissing`: messages before it were not delivered, and may not be in the stream.
   */
  classify(message: Msg, seq: number, delivery: number): 'next' | 'ignored' | 'gap' | EntriesMissing {
    if (delivery !== this.#expected) {
      // Deliveries from before the reset may still be on their way; the first one after it shows that they are over.
      this.#sawOld = true;
      return seq <= this.#lastSeq || this.#awaitingSince > 0 ? 'ignored' : 'gap';
    }
    this.#awaitingSince = 0;
    this.#expected++;
    if (seq <= this.#lastSeq) return 'ignored';
    const missing = this.#anchored ? this.#missingBefore(message) : undefined;
    this.#anchored = Boolean(this.#options.chained);
    this.#lastSeq = seq;
    return missing ?? 'next';
  }

  #missingBefore({ headers, subject }: Msg): EntriesMissing | undefined {
    const previous = Number(headers?.get(EXPECTED_LAST) || 0);
    const read = Math.max(this.#lastSeq, this.#options.acceptMissingUpTo ?? 0);
    return previous <= read ? undefined : new EntriesMissing(subject, read, previous);
  }
}
