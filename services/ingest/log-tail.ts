/**
 * Keeps the records that Postgres did not hold when a partition was taken over, and completes with them what Postgres says of a
 * conversation or a payment.
 */
import { rankOf } from '../../shared/contract/payments.ts';
import type { LogMeta, MessageRecord } from '../../shared/pipeline/entry.ts';
import type { RecordKind, RecordOf } from '../../shared/pipeline/kinds.ts';
import type { Conversation } from './store.ts';

/** The effect of a record that is read back from the log on the state of its partition. */
export interface ReplayEffect<R extends LogMeta> {
  /** The message with whose client id a repeated send is recognised. */
  acceptedSend: (record: R) => MessageRecord | undefined;
  /** The conversation after the record, changed in place or new; `entry` is the last entry of the partition. */
  conversation: (before: Conversation | undefined, record: R, entry: number) => Conversation | undefined;
  /** The rank to which the record brings this payment request; 0 if it does not concern it. */
  paymentRank: (record: R, request: string) => number;
}

const NO_EFFECT: ReplayEffect<LogMeta> = {
  acceptedSend: () => undefined,
  conversation: (before) => before,
  paymentRank: () => 0,
};
/** The effect of a kind that changes nothing of what ingest restores. The reason is for readers of the table. */
const unchanged = (_reason: string): ReplayEffect<LogMeta> => NO_EFFECT;

export type ReplayTable = { [K in RecordKind]: ReplayEffect<RecordOf<K>> };

const REPLAY = {
  message: {
    ...NO_EFFECT,
    acceptedSend: (record) => record,
    conversation(before, { conversation_id, pair, seq }, entry) {
      const members: Conversation['members'] = new Map(pair?.map((user) => [user, 'member']));
      const conversation = before ?? restored(conversation_id, 'direct', members, entry);
      conversation.last_seq = Math.max(conversation.last_seq, seq);
      conversation.entry = entry;
      return conversation;
    },
  },
  conversation: {
    ...NO_EFFECT,
    conversation: (before, { conversation_id, type, members }, entry) =>
      before ?? restored(conversation_id, type, new Map(members), entry),
  },
  payment: {
    ...NO_EFFECT,
    paymentRank: ({ request_id, state }, request) => (request_id === request ? rankOf(state) : 0),
  },
  read: unchanged('a read that is forgotten is recorded once more, which changes nothing'),
  notice: unchanged('it belongs to no conversation'),
} satisfies ReplayTable;

const restored = (
  id: string,
  type: Conversation['type'],
  members: Conversation['members'],
  entry: number,
): Conversation => ({ id, type, last_seq: 0, members, entry, read: new Map() });

/** A kind that only a newer version knows has no effect here; history stops at it (`unknownKind`). */
const effectOf = ({ kind }: LogMeta): ReplayEffect<LogMeta> =>
  (REPLAY[kind] as ReplayEffect<LogMeta> | undefined) ?? NO_EFFECT;

export class LogTail {
  /** By conversation, in the order of the log. */
  readonly #records = new Map<string, LogMeta[]>();

  clear(): void {
    this.#records.clear();
  }

  /** Adds a record. Returns it when it is a message, whose client id has been accepted. */
  add(record: LogMeta): MessageRecord | undefined {
    const records = this.#records.get(record.conversation_id);
    if (records) records.push(record);
    else this.#records.set(record.conversation_id, [record]);
    return effectOf(record).acceptedSend(record);
  }

  /** `stored`: the conversation as Postgres knows it. `entry`: the last entry of the partition. */
  completeConversation(id: string, stored: Conversation | undefined, entry: number): Conversation | undefined {
    let conversation = stored;
    for (const record of this.#records.get(id) ?? [])
      conversation = effectOf(record).conversation(conversation, record, entry);
    return conversation;
  }

  /** `stored`: how far Postgres knows the request in the conversation, 0 for not at all. */
  completePaymentRank(conversation: string, request: string, stored: number): number {
    let rank = stored;
    for (const record of this.#records.get(conversation) ?? [])
      rank = Math.max(rank, effectOf(record).paymentRank(record, request));
    return rank;
  }
}
