/**
 * What ingest knows of one partition: its conversations, the payments in them, and the client ids that it accepted of
 * late. What Postgres does not hold yet is never evicted. Changes of an entry count once the log has it (`commit`), or
 * are taken back (`rollback`).
 */
import { rankOf } from '../../shared/contract/payments.ts';
import { decodeEntry, type LogMeta, type MessageRecord } from '../../shared/pipeline/entry.ts';
import { BatchCache } from './batch-cache.ts';
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
/** How far a payment request has come in a conversation; 0: it does not stand there. */
interface KnownPayment {
  rank: number;
  entry: number;
}
type Before = Pick<Conversation, 'last_seq' | 'entry'>;

export class PartitionState {
  readonly number: number;
  readonly conversations: BatchCache<Conversation>;
  readonly payments: BatchCache<KnownPayment>;
  readonly accepted: BatchCache<AcceptedSend>;
  /** Sequence of the last entry of this partition: what the next append must follow. */
  head = 0;
  /** Creation time of the log that `head` counts in; empty while nothing is known of the partition. */
  log = '';
  #projected = 0;
  /** Entries that Postgres does not hold yet, with the number of their records, oldest first. */
  #unprojected: [entry: number, records: number][] = [];
  #unprojectedRecords = 0;
  /** Records that Postgres did not hold when the partition was taken over, by conversation. */
  #tail = new Map<string, LogMeta[]>();
  #tailEnd = 0;
  readonly #people: PersonCache;
  // Changed by the entry that is being made: what was there before.
  readonly #touched = new Map<Conversation, Before | undefined>();
  readonly #paid = new Map<string, KnownPayment | undefined>();
  #sends: [key: string, send: AcceptedSend][] = [];
  #reads: [Conversation, user: string, before: number | undefined][] = [];

  constructor(number: number, people: PersonCache, limits: StateLimits) {
    this.number = number;
    this.#people = people;
    this.conversations = new BatchCache(limits.INGEST_MAX_CONVERSATIONS);
    this.payments = new BatchCache(limits.INGEST_MAX_PAYMENTS);
    this.accepted = new BatchCache(limits.DEDUPE_WINDOW);
  }

  /** Records that only the log holds: they can't be evicted. */
  get unprojectedRecords(): number {
    return this.#unprojectedRecords;
  }

  /** Postgres holds everything up to this entry. */
  setProjected(entry: number): void {
    if (entry <= this.#projected) return;
    this.#projected = entry;
    let passed = 0;
    for (const [at, records] of this.#unprojected) {
      if (at > entry) break;
      this.#unprojectedRecords -= records;
      passed++;
    }
    if (passed) this.#unprojected = this.#unprojected.slice(passed);
  }

  /** Forgets everything; `projected`: the entry up to which Postgres holds this log. */
  reset(log: string, head: number, projected: number): void {
    for (const cache of [this.conversations, this.payments, this.accepted]) cache.clear();
    this.log = log;
    this.head = this.#tailEnd = head;
    this.#projected = projected;
    this.#unprojected = [];
    this.#unprojectedRecords = 0;
    this.#tail = new Map();
    this.#forgetChanges();
    // Another process may have accepted ids of our people since these were looked up.
    this.#people.forgetAll();
  }

  /** An entry that the log holds and Postgres may not hold yet. @throws on bytes that ingest did not write. */
  replay(entry: number, data: Uint8Array): void {
    const records = decodeEntry(data);
    this.#unprojected.push([entry, records.length]);
    this.#unprojectedRecords += records.length;
    for (const { meta } of records) {
      const of = this.#tail.get(meta.conversation_id);
      if (of) of.push(meta);
      else this.#tail.set(meta.conversation_id, [meta]);
      if (meta.kind === 'message') {
        const { id: message_id, conversation_id, seq, user_id, client_message_id } = meta;
        this.accepted.set(sentKey(conversation_id, user_id, client_message_id), {
          ...{ message_id, conversation_id, seq, entry },
        });
      }
    }
  }

  /** Makes the existing ones among these conversations known; one query for all that are not. */
  async loadConversations(store: Store, ids: Iterable<string>): Promise<void> {
    const unknown: string[] = [];
    for (const id of ids) if (!this.conversations.use(id)) unknown.push(id);
    if (!unknown.length) return;
    this.#dropTail();
    const found = new Map((await store.conversations(unknown)).map((c) => [c.id, c]));
    for (const id of unknown) {
      const conversation = this.#withTail(found.get(id), this.#tail.get(id) ?? []);
      if (conversation) this.conversations.set(id, conversation);
    }
  }

  async loadPayments(store: Store, asked: [conversation: string, request: string][]): Promise<void> {
    const unknown = asked.filter(([c, r]) => !this.payments.use(paymentKey(c, r)));
    if (!unknown.length) return;
    this.#dropTail();
    const found = await store.payments(unknown);
    for (const [conversation, request] of unknown) {
      const key = paymentKey(conversation, request);
      let rank = found.get(key) ?? 0;
      for (const meta of this.#tail.get(conversation) ?? [])
        if (meta.kind === 'payment' && meta.request_id === request) rank = Math.max(rank, rankOf(meta.state));
      this.payments.set(key, { rank, entry: this.head });
    }
  }

  begin(conversation: Conversation): void {
    this.#touched.set(conversation, undefined);
    conversation.entry = Number.POSITIVE_INFINITY;
    this.conversations.set(conversation.id, conversation);
  }

  /** Gives the conversation's next number. */
  takeSeq(conversation: Conversation): number {
    this.#touch(conversation);
    return ++conversation.last_seq;
  }

  accept({ conversation_id, user_id, client_message_id, id: message_id, seq }: MessageRecord): void {
    const key = sentKey(conversation_id, user_id, client_message_id);
    const send = { message_id, conversation_id, seq, entry: Number.POSITIVE_INFINITY };
    this.accepted.set(key, send);
    this.#sends.push([key, send]);
    this.#people.raiseGreatest(user_id, client_message_id);
  }

  moveRead(conversation: Conversation, user: string, seq: number): void {
    this.#touch(conversation);
    this.#reads.push([conversation, user, conversation.read.get(user)]);
    conversation.read.set(user, seq);
  }

  movePayment(key: string, rank: number): void {
    if (!this.#paid.has(key)) this.#paid.set(key, this.payments.get(key));
    this.payments.set(key, { rank, entry: Number.POSITIVE_INFINITY });
  }

  /** The log holds the changes as `entry`, with so many records. */
  commit(entry: number, records: number): void {
    this.head = entry;
    for (const conversation of this.#touched.keys()) conversation.entry = entry;
    for (const [, send] of this.#sends) send.entry = entry;
    for (const key of this.#paid.keys()) this.payments.get(key)!.entry = entry;
    this.#unprojected.push([entry, records]);
    this.#unprojectedRecords += records;
    this.#forgetChanges();
  }

  /** The log may not hold the changes: the state is again what it was after the last `commit`. */
  rollback(): void {
    for (const [conversation, user, before] of this.#reads.reverse())
      if (before === undefined) conversation.read.delete(user);
      else conversation.read.set(user, before);
    for (const [conversation, before] of this.#touched)
      if (before) Object.assign(conversation, before);
      else this.conversations.delete(conversation.id);
    for (const [key] of this.#sends) this.accepted.delete(key);
    for (const [key, before] of this.#paid)
      if (before) this.payments.set(key, before);
      else this.payments.delete(key);
    this.#forgetChanges();
  }

  /** Evicts what is too much. Called between batches: what a batch has loaded stays until it is decided. */
  trim(): void {
    const projected = this.#projected;
    this.conversations.trim(({ entry }) => entry <= projected);
    this.payments.trim(({ entry }) => entry <= projected);
    this.accepted.trim(({ entry }, key) => {
      if (entry > projected) return false;
      // From here on only Postgres knows the id: a person whom the cache holds must not count it as new.
      this.#people.raiseGreatest(...sentKeyOwner(key));
      return true;
    });
  }

  /** Before Postgres is asked, never while it answers: its answer may be older than what was projected meanwhile. */
  #dropTail(): void {
    if (this.#projected >= this.#tailEnd) this.#tail.clear();
  }

  #touch(conversation: Conversation): void {
    if (this.#touched.has(conversation)) return;
    const { last_seq, entry } = conversation;
    this.#touched.set(conversation, { last_seq, entry });
    conversation.entry = Number.POSITIVE_INFINITY;
  }

  #forgetChanges(): void {
    this.#touched.clear();
    this.#paid.clear();
    this.#sends = [];
    this.#reads = [];
  }

  #withTail(conversation: Conversation | undefined, tail: LogMeta[]): Conversation | undefined {
    let out = conversation;
    for (const meta of tail) {
      const { conversation_id: id } = meta;
      const begin = (type: Conversation['type'], members: Conversation['members']): Conversation => ({
        ...{ id, type, last_seq: 0, members, entry: this.head, read: new Map() },
      });
      if (meta.kind === 'conversation') out ??= begin(meta.type, new Map(meta.members));
      else if (meta.kind === 'message') {
        out ??= begin('direct', new Map(meta.pair?.map((user) => [user, 'member'])));
        out.last_seq = Math.max(out.last_seq, meta.seq);
        out.entry = this.head;
      }
    }
    return out;
  }
}
