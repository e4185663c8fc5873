/**
 * The one writer of a partition. It takes what has arrived, decides it in order, appends it as one entry, and only then
 * answers. One append is in flight; what arrives meanwhile is the next entry.
 */
import type { NatsConnection } from 'nats';
import type { Logger } from 'pino';
import type { FullFor } from '../../nats/inbox/full-inboxes.ts';
import { RestoreRequired, type StreamMessage } from '../../nats/partition-consumer.ts';
import { PublishError, type Publisher } from '../../nats/publisher.ts';
import { LOG } from '../../nats/topology.ts';
import type { Config } from '../../shared/config/index.ts';
import type { Metrics } from '../../shared/metrics.ts';
import type { decodeCommands, Incoming, Reply } from '../../shared/pipeline/commands.ts';
import { isTransient } from '../../shared/transient.ts';
import { CommandHandler, type Decision, type Loaded, unavailable } from './command-handler.ts';
import type { GuardedStore } from './guarded-store.ts';
import { PartitionState } from './partition-state.ts';
import type { PersonCache } from './person-cache.ts';
import { restoreState } from './restore-state.ts';
import { type Accepted, sentKey } from './store.ts';

export type Batch = ReturnType<typeof decodeCommands>;
type Work = [command: Incoming, reply: string];
const NONE: ReadonlyMap<string, Accepted> = new Map();
/** An entry is closed when it has grown to this, well below the broker's max_payload. */
const ENTRY_BYTES = 2 << 20;
/** A restore that failed is tried again after so long, or after ten times what it took. */
const RESTORE_AGAIN_MS = 500;

export interface WorkerParts {
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
  readonly #parts: WorkerParts;
  readonly #state: PartitionState;
  readonly #decider: CommandHandler;
  /** The state is what the log and Postgres hold; otherwise nothing can be decided. */
  #restored = false;
  #restoring: Promise<void> | undefined;
  #restoreAt = 0;
  /** Why all senders hear `unavailable`, for /ready; undefined while commands are taken. */
  trouble: string | undefined;

  constructor(number: number, parts: WorkerParts) {
    this.#parts = parts;
    this.#state = new PartitionState(number, parts.people, parts.config);
    this.#decider = new CommandHandler(this.#state, parts.full, parts.config);
  }

  setProjected(entry: number): void {
    this.#state.setProjected(entry);
  }

  /** This process became the only writer. Never waits long: until the state is restored, senders hear `unavailable`. */
  async takeOver(): Promise<undefined> {
    await this.#restoring?.catch(() => {});
    this.#state.rollback();
    this.#restored = false;
    this.#restoreAt = 0;
    await this.#restore();
  }

  async handle(batch: StreamMessage<Batch>[]): Promise<void> {
    const work: Work[] = [];
    for (const { value } of batch) for (const command of value.commands) work.push([command, value.reply]);
    if (!this.#restored || this.#isTooFarAhead) await this.check();
    if (this.trouble !== undefined) {
      const error = unavailable(this.trouble);
      this.#answer(work.map(([{ tag }, reply]) => ({ tag, reply, error })));
      return;
    }
    try {
      this.#decider.loaded = await this.#load(work);
      for (let next = 0; next < work.length; ) next = await this.#append(work, next);
    } catch (error) {
      this.#state.rollback();
      throw error;
    }
    this.#state.trim();
    this.#parts.metrics.batch.observe({ stage: 'ingest' }, work.length);
  }

  /** Looks whether what keeps commands from being taken is over. Called with commands, and by a timer without. */
  async check(): Promise<void> {
    if (!this.#restored) return await this.#restore();
    if (this.trouble === undefined && !this.#isTooFarAhead) return;
    // The core event that tells how far history is may have been lost.
    const position = await this.#parts.store.position(this.#state.number).catch(() => undefined);
    if (position?.stream === this.#state.log) this.#state.setProjected(position.entry_seq);
    this.trouble = this.#isTooFarAhead
      ? `history is ${this.#state.unprojectedRecords} records behind: no command is taken until it has caught up`
      : undefined;
  }

  /** What Postgres does not hold yet can't be forgotten: without a bound, memory would grow as long as history stands. */
  get #isTooFarAhead(): boolean {
    return this.#state.unprojectedRecords >= this.#parts.config.INGEST_MAX_UNPROJECTED;
  }

  #restore(): Promise<void> {
    if (!this.#restoring && Date.now() < this.#restoreAt) return Promise.resolve();
    this.#restoring ??= this.#restoreNow().finally(() => {
      this.#restoring = undefined;
    });
    return this.#restoring;
  }

  async #restoreNow(): Promise<void> {
    const { nc, store, config, log } = this.#parts;
    const began = Date.now();
    const failure = await restoreState(this.#state, { nc, store, config, log });
    this.#restoreAt = Date.now() + Math.max(RESTORE_AGAIN_MS, 10 * (Date.now() - began));
    this.#restored = failure === undefined;
    if (failure !== undefined && failure !== this.trouble)
      log.error({ stage: 'ingest', partition: this.#state.number, reason: failure }, 'no command can be taken');
    this.trouble = failure;
  }

  async #append(work: Work[], from: number): Promise<number> {
    const decisions: Decision[] = [];
    this.#decider.begin(Date.now());
    let next = from;
    for (; next < work.length && this.#decider.entry.bytes < ENTRY_BYTES; next++)
      decisions.push(this.#decider.decide(...work[next]!));
    const { entry } = this.#decider;
    if (entry.count) {
      try {
        const { number, head } = this.#state;
        this.#state.commit(await this.#parts.publisher.appendToLog(number, head, entry.finish()), entry.count);
      } catch (error) {
        if (error instanceof PublishError) throw new RestoreRequired(`${LOG}: ${error.message}`, { cause: error });
        throw error;
      }
    }
    this.#answer(decisions);
    return next;
  }

  #answer(decisions: Decision[]): void {
    const { nc, metrics } = this.#parts;
    const replies = new Map<string, Required<Omit<Reply, 'sent'>>>();
    let refused = 0;
    for (const { tag, reply, answer, error } of decisions) {
      let to = replies.get(reply);
      if (!to) {
        to = { answers: [], errors: [] };
        replies.set(reply, to);
      }
      if (answer) to.answers.push([tag, ...answer]);
      else {
        to.errors.push([tag, error!.toJSON()]);
        refused++;
      }
    }
    for (const [reply, said] of replies) nc.publish(reply, JSON.stringify(said));
    metrics.records.inc({ stage: 'ingest', outcome: 'ok' }, decisions.length - refused);
    if (refused) metrics.records.inc({ stage: 'ingest', outcome: 'refused' }, refused);
  }

  /** One query of each kind for everything that this batch asks about and memory does not know. */
  async #load(work: Work[]): Promise<Loaded> {
    const { store, people } = this.#parts;
    const conversations = new Set<string>();
    const users = new Set<string>();
    const payments: [string, string][] = [];
    for (const [{ command }] of work) {
      conversations.add(command.conversation_id);
      if (command.kind === 'send') users.add(command.user_id);
      if (command.kind === 'payment') payments.push([command.conversation_id, command.request_id]);
      if ('to' in command && command.to) users.add(command.to);
      if (command.kind === 'create') for (const user of command.member_ids) users.add(user);
    }
    let incomplete = false;
    /** Resolves with undefined when Postgres does not answer: what memory knows is decided all the same. */
    const orNot = async <T>(look: Promise<T>): Promise<T | undefined> => {
      try {
        return await look;
      } catch (error) {
        if (!isTransient(error)) throw error;
        incomplete = true;
        return undefined;
      }
    };
    const peopleNow = async () => (await orNot(people.load(store, users))) ?? people.known(users);
    const [loaded] = await Promise.all([
      peopleNow(),
      orNot(this.#state.loadConversations(store, conversations)),
      payments.length && orNot(this.#state.loadPayments(store, payments)),
    ]);
    const doubtful = new Map<string, [conversation: string, user: string, client_message_id: string]>();
    // Envelopes are held against the devices of all members.
    for (const [{ command }] of work) {
      if (command.kind !== 'send') continue;
      const { conversation_id, user_id, client_message_id } = command;
      if (command.envelopes)
        for (const user of this.#state.conversations.get(conversation_id)?.members.keys() ?? []) users.add(user);
      const key = sentKey(conversation_id, user_id, client_message_id);
      if (this.#state.accepted.has(key)) continue;
      const person = loaded.get(user_id);
      if (!person || client_message_id <= person.greatest)
        doubtful.set(key, [conversation_id, user_id, client_message_id]);
    }
    const accepted = doubtful.size ? await orNot(store.accepted([...doubtful.values()])) : NONE;
    const undecided = new Set(accepted ? [] : doubtful.keys());
    // Last, so that the devices are as they are now.
    return { people: await peopleNow(), accepted: accepted ?? NONE, undecided, incomplete };
  }
}
