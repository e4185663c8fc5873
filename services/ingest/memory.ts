/**
 * What this process remembers between batches. Conversations belong to a partition; people, devices and the window of
 * accepted client ids are shared by all partitions of the process. Nothing that Postgres does not hold yet is forgotten.
 */
import { rankOf } from '../../shared/contract/payments.ts';
import { decodeEntry, type LogMeta } from '../../shared/pipeline/entry.ts';
import { type Accepted, type Conversation, type Person, paymentKey, type Store, sentKey } from './store.ts';

interface Seen extends Accepted {
  partition: number;
  /** Entry of the log that holds it; Infinity while its append is in flight. */
  entry: number;
}
/** How far a payment request has come in a conversation; 0: it does not stand there. */
interface KnownPayment {
  rank: number;
  entry: number;
}
const KEPT_PAYMENTS = 20_000;
const KEPT_CONVERSATIONS = 50_000;
const KEPT_PEOPLE = 100_000;
const SWEEP = 64;
const TRIES = 5;

/** Removes the oldest that may go; looks at a few each time, so that no call takes long. */
function forget<K, V>(map: Map<K, V>, keep: number, mayGo: (value: V, key: K) => boolean): void {
  let looked = 0;
  for (const [key, value] of map) {
    if (map.size <= keep || looked++ === SWEEP) return;
    map.delete(key);
    if (!mayGo(value, key)) map.set(key, value);
  }
}

export class Memory {
  readonly people = new Map<string, Person>();
  readonly seen = new Map<string, Seen>();
  /** Users whose inbox is full, as the bucket `full` says. */
  readonly full = new Set<string>();
  readonly #projected = new Map<number, number>();
  readonly #window: number;
  /** Look-ups under way, and who was changed meanwhile. */
  readonly #loads = new Set<{ stale: Set<string>; all: boolean }>();

  constructor(window: number) {
    this.#window = window;
  }

  projected(partition: number): number {
    return this.#projected.get(partition) ?? 0;
  }
  setProjected(partition: number, entry: number): void {
    this.#projected.set(partition, Math.max(entry, this.projected(partition)));
  }

  remember(user: string, clientMessageId: string, seen: Seen): void {
    this.seen.set(sentKey(user, clientMessageId), seen);
    this.#raise(user, clientMessageId);
    forget(this.seen, this.#window, (old, key) => {
      if (old.entry > this.projected(old.partition)) return false;
      // A person loaded before this was projected does not know of it; from here on only Postgres does.
      this.#raise(key.slice(0, 36), key.slice(37));
      return true;
    });
  }

  #raise(user: string, clientMessageId: string): void {
    const person = this.people.get(user);
    if (person && clientMessageId > person.greatest) person.greatest = clientMessageId;
  }

  /** A partition begins anew: what it had in flight is uncertain, and another process may have spoken to our people. */
  drop(partition: number): void {
    for (const [key, seen] of this.seen) if (seen.partition === partition) this.seen.delete(key);
    this.#projected.delete(partition);
    this.people.clear();
    for (const load of this.#loads) load.all = true;
  }

  /** What is known of a person is out of date. */
  forget(user: string): void {
    this.people.delete(user);
    for (const load of this.#loads) load.stale.add(user);
  }

  /**
   * Those of them who exist, as they are now: `people` itself may be cleared by another partition's take-over at any time.
   * Who was changed while Postgres was answering is asked for again.
   */
  async loadPeople(store: Store, ids: ReadonlySet<string>): Promise<ReadonlyMap<string, Person>> {
    const loaded = new Map<string, Person>();
    let unknown = [...ids].filter((id) => {
      const person = this.people.get(id);
      if (person) loaded.set(id, person);
      return !person;
    });
    for (let tries = 0; unknown.length && tries < TRIES; tries++) {
      const load = { stale: new Set<string>(), all: false };
      this.#loads.add(load);
      const found = await store.people(unknown).finally(() => this.#loads.delete(load));
      const again: string[] = [];
      for (const id of unknown) {
        const person = found.get(id);
        if (person) loaded.set(id, person);
        else loaded.delete(id);
        if (load.all || load.stale.has(id)) again.push(id);
        else if (person && !this.people.has(id)) this.people.set(id, person);
      }
      unknown = again;
      forget(this.people, KEPT_PEOPLE, () => true);
    }
    return loaded;
  }
}

export class Partition {
  readonly number: number;
  readonly conversations = new Map<string, Conversation>();
  readonly payments = new Map<string, KnownPayment>();
  /** Sequence of the last entry of this partition: what the next append must follow. */
  head = 0;
  #tail = new Map<string, LogMeta[]>();
  #tailEnd = 0;
  readonly #memory: Memory;

  constructor(number: number, memory: Memory) {
    this.number = number;
    this.#memory = memory;
  }

  reset(head: number, position: number): void {
    this.conversations.clear();
    this.payments.clear();
    this.#tail = new Map();
    this.head = head;
    this.#tailEnd = head;
    this.#memory.drop(this.number);
    this.#memory.setProjected(this.number, position);
  }

  /** An entry that is in the log and may not be in Postgres yet. */
  replay(seq: number, data: Uint8Array): void {
    for (const { meta } of decodeEntry(data)) {
      const of = this.#tail.get(meta.conversation_id);
      if (of) of.push(meta);
      else this.#tail.set(meta.conversation_id, [meta]);
      if (meta.kind === 'message') {
        const { id: message_id, conversation_id, seq: at } = meta;
        this.#memory.remember(meta.user_id, meta.client_message_id, {
          message_id,
          conversation_id,
          seq: at,
          partition: this.number,
          entry: seq,
        });
      }
    }
  }

  async load(store: Store, ids: Set<string>): Promise<void> {
    const unknown = [...ids].filter((id) => !this.conversations.has(id));
    if (!unknown.length) return;
    if (this.#memory.projected(this.number) >= this.#tailEnd) this.#tail.clear();
    const found = new Map((await store.conversations(unknown)).map((c) => [c.id, c]));
    for (const id of unknown) {
      const conversation = this.#overlay(found.get(id), this.#tail.get(id) ?? []);
      if (conversation) this.conversations.set(id, conversation);
    }
    forget(this.conversations, KEPT_CONVERSATIONS, (c) => c.entry <= this.#memory.projected(this.number));
  }

  async loadPayments(store: Store, asked: [conversation: string, request: string][]): Promise<void> {
    const unknown = asked.filter(([c, r]) => !this.payments.has(paymentKey(c, r)));
    if (!unknown.length) return;
    if (this.#memory.projected(this.number) >= this.#tailEnd) this.#tail.clear();
    const found = await store.payments(unknown);
    for (const [conversation, request] of unknown) {
      const key = paymentKey(conversation, request);
      let rank = found.get(key) ?? 0;
      for (const meta of this.#tail.get(conversation) ?? [])
        if (meta.kind === 'payment' && meta.request_id === request) rank = Math.max(rank, rankOf(meta.state));
      this.payments.set(key, { rank, entry: this.head });
    }
    forget(this.payments, KEPT_PAYMENTS, ({ entry }) => entry <= this.#memory.projected(this.number));
  }

  #overlay(conversation: Conversation | undefined, tail: LogMeta[]): Conversation | undefined {
    let out = conversation;
    for (const meta of tail) {
      if (meta.kind === 'conversation') {
        out ??= {
          id: meta.conversation_id,
          type: meta.type,
          last_seq: 0,
          members: new Map(meta.members),
          entry: this.head,
          read: new Map(),
        };
      } else if (meta.kind === 'message') {
        out ??= {
          id: meta.conversation_id,
          type: 'direct',
          last_seq: 0,
          members: new Map(meta.pair?.map((user) => [user, 'member'])),
          entry: this.head,
          read: new Map(),
        };
        out.last_seq = Math.max(out.last_seq, meta.seq);
        out.entry = this.head;
      }
    }
    return out;
  }
}
