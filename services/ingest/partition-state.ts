/**
 * Holds the state of one partition: its conversations, the payments in them, and the client ids that it accepted lately. An
 * entry that Postgres does not hold yet is never evicted. Changes of an entry count once the log has it (`commit`), or are undone
 * (`rollback`).
 */
import { decodeEntry, type MessageRecord } from '../../shared/pipeline/entry.ts';
import { BatchCache } from './batch-cache.ts';
import { LogTail } from './log-tail.ts';
import type { PersonCache } from './person-cache.ts';
import { type Accepted, type Conversation, paymentKey, type Store, sentKey, sentKeyOwner } from './store.ts';

export interface StateLimits {
  /** Accepted client ids, conversations and payments that are remembered. */
  DEDUPE_WINDOW: number;
  INGEST_MAX_CONVERSATIONS: number;
  INGEST_MAX_PAYMENTS: number;
}
/** `entry`: sequence in the log that holds it; Infinity while its append is in flight. */
interface AcceptedSend extends Accepted {
  entry: number;
}
/** The progress of a payment request in a conversation; rank 0: the conversation has no record of it. */
interface KnownPayment {
  rank: number;
  entry: number;
}
type ConversationBefore = Pick<Conversation, 'last_seq' | 'entry'>;

export class PartitionState {
  readonly partition: number;
  readonly conversations: BatchCache<Conversation>;
  readonly payments: BatchCache<KnownPayment>;
  readonly accepted: BatchCache<AcceptedSend>;
  /** Sequence of the last entry of this partition, which the next append must follow. */
  head = 0;
  /** Creation time of the LOG that `head` counts in; empty while nothing is known of the partition. */
  logCreated = '';
  #projected = 0;
  /** Entries that Postgres does not hold yet, with the number of their records, oldest first. */
  #unprojected: [entry: number, records: number][] = [];
  #unprojectedRecords = 0;
  readonly #tail = new LogTail();
  #tailEnd = 0;
  readonly #people: PersonCache;
  // Values that the entry in progress has changed, as they were before.
  readonly #conversationsBefore = new Map<Conversation, ConversationBefore | undefined>();
  readonly #paymentsBefore = new Map<string, KnownPayment | undefined>();
  #newSends: [key: string, send: AcceptedSend][] = [];
  #readsBefore: [Conversation, user: string, before: number | undefined][] = [];

  constructor(partition: number, people: PersonCache, limits: StateLimits) {
    this.partition = partition;
    this.#people = people;
    this.conversations = new BatchCache(limits.INGEST_MAX_CONVERSATIONS);
    this.payments = new BatchCache(limits.INGEST_MAX_PAYMENTS);
    this.accepted = new BatchCache(limits.DEDUPE_WINDOW);
  }

  /** The number of records that only the log holds; the state that they changed can't be evicted. */
  get unprojectedRecords(): number {
    return this.#unprojectedRecords;
  }

  /** Postgres holds everything up to this entry. */
  setProjected(entry: number): void {
    if (entry <= this.#projected) return;
    this.#projected = entry;
    let passed = 0;
    for (const [seq, records] of this.#unprojected) {
      if (seq > entry) break;
      this.#unprojectedRecords -= records;
      passed++;
    }
    if (passed) this.#unprojected = this.#unprojected.slice(passed);
  }

  /** Forgets everything. `projected`: the entry up to which Postgres holds this log. */
  reset(logCreated: string, head: number, projected: number): void {
    for (const cache of [this.conversations, this.payments, this.accepted]) cache.clear();
    this.logCreated = logCreated;
    this.head = this.#tailEnd = head;
    this.#projected = projected;
    this.#unprojected = [];
    this.#unprojectedRecords = 0;
    this.#tail.clear();
    this.#forgetChanges();
    // Another process may have accepted ids of these people since they were looked up.
    this.#people.forgetAll();
  }

  /** Adds an entry that the log holds and Postgres may not hold yet. @throws on bytes that ingest did not write */
  replay(entry: number, data: Uint8Array): void {
    const records = decodeEntry(data);
    this.#unprojected.push([entry, records.length]);
    this.#unprojectedRecords += records.length;
    for (const { meta } of records) {
      const sent = this.#tail.add(meta);
      if (!sent) continue;
      const { id: message_id, conversation_id, seq, user_id, client_message_id } = sent;
      this.accepted.set(sentKey(conversation_id, user_id, client_message_id), {
        ...{ message_id, conversation_id, seq, entry },
      });
    }
  }

  /** Makes the existing ones among these conversations known, with one query for all that are not. */
  async loadConversations(store: Store, ids: Iterable<string>): Promise<void> {
    const unknown: string[] = [];
    for (const id of ids) if (!this.conversations.use(id)) unknown.push(id);
    if (!unknown.length) return;
    this.#dropTail();
    const stored = new Map((await store.conversations(unknown)).map((c) => [c.id, c]));
    for (const id of unknown) {
      const conversation = this.#tail.completeConversation(id, stored.get(id), this.head);
      if (conversation) this.conversations.set(id, conversation);
    }
  }

  async loadPayments(store: Store, wanted: [conversation: string, request: string][]): Promise<void> {
    const unknown = wanted.filter(([c, r]) => !this.payments.use(paymentKey(c, r)));
    if (!unknown.length) return;
    this.#dropTail();
    const stored = await store.payments(unknown);
    for (const [conversation, request] of unknown) {
      const key = paymentKey(conversation, request);
      const rank = this.#tail.completePaymentRank(conversation, request, stored.get(key) ?? 0);
      this.payments.set(key, { rank, entry: this.head });
    }
  }

  addConversation(conversation: Conversation): void {
    this.#conversationsBefore.set(conversation, undefined);
    conversation.entry = Number.POSITIVE_INFINITY;
    this.conversations.set(conversation.id, conversation);
  }

  takeNextSeq(conversation: Conversation): number {
    this.#markChanged(conversation);
    return ++conversation.last_seq;
  }

  /** Remembers the client id of a message, so that a repetition gets the same answer. */
  rememberSend({ conversation_id, user_id, client_message_id, id: message_id, seq }: MessageRecord): void {
    const key = sentKey(conversation_id, user_id, client_message_id);
    const send = { message_id, conversation_id, seq, entry: Number.POSITIVE_INFINITY };
    this.accepted.set(key, send);
    this.#newSends.push([key, send]);
    this.#people.raiseGreatest(user_id, client_message_id);
  }

  moveRead(conversation: Conversation, user: string, seq: number): void {
    this.#markChanged(conversation);
    this.#readsBefore.push([conversation, user, conversation.read.get(user)]);
    conversation.read.set(user, seq);
  }

  movePayment(key: string, rank: number): void {
    if (!this.#paymentsBefore.has(key)) this.#paymentsBefore.set(key, this.payments.get(key));
    this.payments.set(key, { rank, entry: Number.POSITIVE_INFINITY });
  }

  /** The log holds the changes as `entry`, which has so many records. */
  commit(entry: number, records: number): void {
    this.head = entry;
    for (const conversation of this.#conversationsBefore.keys()) conversation.entry = entry;
    for (const [, send] of this.#newSends) send.entry = entry;
    for (const key of this.#paymentsBefore.keys()) this.payments.get(key)!.entry = entry;
    this.#unprojected.push([entry, records]);
    this.#unprojectedRecords += records;
    this.#forgetChanges();
  }

  /** The log may not hold the changes: puts the state back to what it was after the last `commit`. */
  rollback(): void {
    for (const [conversation, user, before] of this.#readsBefore.reverse())
      if (before === undefined) conversation.read.delete(user);
      else conversation.read.set(user, before);
    for (const [conversation, before] of this.#conversationsBefore)
      if (before) Object.assign(conversation, before);
      else this.conversations.delete(conversation.id);
    for (const [key] of this.#newSends) this.accepted.delete(key);
    for (const [key, before] of this.#paymentsBefore)
      if (before) this.payments.set(key, before);
      else this.payments.delete(key);
    this.#forgetChanges();
  }

  /** Evicts entries above the limits. Called between batches, so that a batch keeps what was loaded for it. */
  trim(): void {
    const projected = this.#projected;
    this.conversations.trim(({ entry }) => entry <= projected);
    this.payments.trim(({ entry }) => entry <= projected);
    this.accepted.trim(({ entry }, key) => {
      if (entry > projected) return false;
      // From here on only Postgres knows the id: a person in the cache must not count it as new.
      this.#people.raiseGreatest(...sentKeyOwner(key));
      return true;
    });
  }

  /** Called before Postgres is asked, never while it answers: its answer may be older than what was projected meanwhile. */
  #dropTail(): void {
    if (this.#projected >= this.#tailEnd) this.#tail.clear();
  }

  #markChanged(conversation: Conversation): void {
    if (this.#conversationsBefore.has(conversation)) return;
    const { last_seq, entry } = conversation;
    this.#conversationsBefore.set(conversation, { last_seq, entry });
    conversation.entry = Number.POSITIVE_INFINITY;
  }

  #forgetChanges(): void {
    this.#conversationsBefore.clear();
    this.#paymentsBefore.clear();
    this.#newSends = [];
    this.#readsBefore = [];
  }
}
