/**
 * The only writer of a partition. It decides the commands that have arrived in their order, appends the records as one entry,
 * and only then answers. One append is in flight at a time; commands that arrive meanwhile become the next entry.
 */
import type { NatsConnection } from 'nats';
import type { Logger } from 'pino';
import type { FullFor } from '../../nats/inbox/full-inboxes.ts';
import { RestoreRequired, type StreamMessage } from '../../nats/partition-consumer.ts';
import { PublishError, type Publisher } from '../../nats/publisher.ts';
import { LOG } from '../../nats/topology.ts';
import { singleFlight } from '../../shared/async/single-flight.ts';
import type { Config } from '../../shared/config/index.ts';
import type { Metrics } from '../../shared/metrics.ts';
import type { Incoming, IncomingBatch, Reply } from '../../shared/pipeline/commands.ts';
import { CommandHandler, type Decision } from './command-handler.ts';
import type { GuardedStore } from './guarded-store.ts';
import { loadBatch } from './load-batch.ts';
import { PartitionState } from './partition-state.ts';
import type { PersonCache } from './person-cache.ts';
import { unavailable } from './refusals.ts';
import { restoreState } from './restore-state.ts';

type Work = [command: Incoming, reply: string];
/** An entry is closed when it has grown to this, well below the broker's max_payload. */
const ENTRY_BYTES = 2 << 20;
/** A failed restore is repeated after this time, or after ten times what it took. */
const RESTORE_RETRY_MS = 500;

export interface IngestWorkerOptions {
  nc: NatsConnection;
  publisher: Publisher;
  store: GuardedStore;
  people: PersonCache;
  /** Users whose inbox is full. */
  full: ReadonlyMap<string, FullFor>;
  config: Config;
  metrics: Metrics;
  log: Logger;
}

export class IngestWorker {
  readonly #o: IngestWorkerOptions;
  readonly #state: PartitionState;
  readonly #handler: CommandHandler;
  /** The state is what the log and Postgres hold; otherwise nothing can be decided. */
  #isRestored = false;
  #restoring: Promise<void> | undefined;
  #restoreAt = 0;
  readonly #restore = singleFlight(() => this.#restoreNow());
  /** Why all senders hear `unavailable`, for /ready; undefined while commands are accepted. */
  unavailableReason: string | undefined;

  constructor(partition: number, options: IngestWorkerOptions) {
    this.#o = options;
    this.#state = new PartitionState(partition, options.people, options.config);
    this.#handler = new CommandHandler(this.#state, options.full, options.config);
  }

  /** History has committed the partition up to this entry. */
  setProjected(entry: number): void {
    this.#state.setProjected(entry);
  }

  /** This process became the only writer. Never waits long: until the state is restored, senders hear `unavailable`. */
  async restore(): Promise<undefined> {
    await this.#restoring?.catch(() => {});
    this.#state.rollback();
    this.#isRestored = false;
    this.#restoreAt = 0;
    await this.#restoreIfDue();
  }

  async handle(batch: StreamMessage<IncomingBatch>[]): Promise<void> {
    const work: Work[] = [];
    for (const { value } of batch) for (const command of value.commands) work.push([command, value.reply]);
    if (!this.#isRestored || this.#isTooFarAhead) await this.tryToResume();
    if (this.unavailableReason !== undefined) {
      const error = unavailable(this.unavailableReason);
      this.#answer(work.map(([{ tag }, reply]) => ({ tag, reply, error })));
      return;
    }
    try {
      const { store, people } = this.#o;
      this.#handler.beginBatch(await loadBatch(store, people, this.#state, work));
      for (let next = 0; next < work.length; ) next = await this.#append(work, next);
    } catch (error) {
      this.#state.rollback();
      throw error;
    }
    this.#state.trim();
    this.#o.metrics.batch.observe({ stage: 'ingest' }, work.length);
  }

  /** Checks whether the reason to refuse commands is over. Called with commands, and by a timer without. */
  async tryToResume(): Promise<void> {
    if (!this.#isRestored) return await this.#restoreIfDue();
    if (this.unavailableReason === undefined && !this.#isTooFarAhead) return;
    // The core event with history's position may have been lost.
    const position = await this.#o.store.position(this.#state.partition).catch(() => undefined);
    if (position?.stream === this.#state.logCreated) this.#state.setProjected(position.entry_seq);
    this.unavailableReason = this.#isTooFarAhead
      ? `history is ${this.#state.unprojectedRecords} records behind: no command is accepted until it has caught up`
      : undefined;
  }

  /** Records that Postgres does not hold yet can't be evicted: without a bound, memory would grow while history is down. */
  get #isTooFarAhead(): boolean {
    return this.#state.unprojectedRecords >= this.#o.config.INGEST_MAX_UNPROJECTED;
  }

  async #restoreIfDue(): Promise<void> {
    if (Date.now() < this.#restoreAt) return;
    this.#restoring = this.#restore();
    await this.#restoring;
  }

  async #restoreNow(): Promise<void> {
    const { nc, store, config, log } = this.#o;
    const began = Date.now();
    const failure = await restoreState(this.#state, { nc, store, config, log });
    this.#restoreAt = Date.now() + Math.max(RESTORE_RETRY_MS, 10 * (Date.now() - began));
    this.#isRestored = failure === undefined;
    if (failure !== undefined && failure !== this.unavailableReason)
      log.error({ stage: 'ingest', partition: this.#state.partition, reason: failure }, 'no command can be accepted');
    this.unavailableReason = failure;
  }

  /** Decides commands from `from` on until the entry is full, appends it and answers. @returns the next command's index */
  async #append(work: Work[], from: number): Promise<number> {
    const decisions: Decision[] = [];
    this.#handler.beginEntry(Date.now());
    let next = from;
    for (; next < work.length && this.#handler.entry.bytes < ENTRY_BYTES; next++)
      decisions.push(this.#handler.decide(...work[next]!));
    const { entry } = this.#handler;
    if (entry.count) {
      try {
        const { partition, head } = this.#state;
        this.#state.commit(await this.#o.publisher.appendToLog(partition, head, entry.finish()), entry.count);
      } catch (error) {
        if (error instanceof PublishError) throw new RestoreRequired(`${LOG}: ${error.message}`, { cause: error });
        throw error;
      }
    }
    this.#answer(decisions);
    return next;
  }

  /** Publishes the decisions, one message to each gateway. */
  #answer(decisions: Decision[]): void {
    const { nc, metrics } = this.#o;
    const replies = new Map<string, Required<Omit<Reply, 'sent'>>>();
    let refused = 0;
    for (const { tag, reply, answer, error } of decisions) {
      let message = replies.get(reply);
      if (!message) {
        message = { answers: [], errors: [] };
        replies.set(reply, message);
      }
      if (answer) message.answers.push([tag, ...answer]);
      else {
        message.errors.push([tag, error!.toJSON()]);
        refused++;
      }
    }
    for (const [reply, message] of replies) nc.publish(reply, JSON.stringify(message));
    metrics.records.inc({ stage: 'ingest', outcome: 'ok' }, decisions.length - refused);
    if (refused) metrics.records.inc({ stage: 'ingest', outcome: 'refused' }, refused);
  }
}
