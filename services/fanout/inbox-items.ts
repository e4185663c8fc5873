/** What each record becomes: inbox items, one a recipient, holding the finished frame. */

import { encodeItem, type ItemHead, WANTS_DELIVERED } from '../../nats/inbox/item.ts';
import type { OutgoingMessage } from '../../nats/publisher.ts';
import { subject } from '../../nats/topology.ts';
import { shardOf } from '../../shared/ids.ts';
import { unpackEnvelopes } from '../../shared/pipeline/commands.ts';
import type {
  ConversationRecord,
  LogRecord,
  MessageRecord,
  NoticeRecord,
  PaymentRecord,
  ReadRecord,
} from '../../shared/pipeline/entry.ts';

export interface ItemLimits {
  INBOX_SHARDS: number;
  STATUS_MAX_MEMBERS: number;
}
export interface Recipients {
  membersOf(conversation: string): readonly string[];
  /** Everybody who shares a conversation with the person, and the person. */
  partnersOf(user: string): readonly string[];
  /** The device was deleted. */
  isGone(device: string): boolean;
}
const END = Buffer.from('}}');
const text = (value: unknown): string => JSON.stringify(value);

/** Items of one batch by shard, in the order of the log. */
export class InboxItemBuilder {
  readonly shards: OutgoingMessage[][];
  /** Items by user, for the quota. */
  readonly counts = new Map<string, number>();
  readonly #shape: ItemLimits;
  readonly #bases: number[];
  readonly #recipients: Recipients;
  /** By shard: the entry whose records are added now stands there already. */
  #has: boolean[] | undefined;

  /** `bases`: the cursor base of each shard. */
  constructor(shape: ItemLimits, bases: number[], recipients: Recipients) {
    this.#shape = shape;
    this.#bases = bases;
    this.#recipients = recipients;
    this.shards = bases.map(() => []);
  }

  /** From now on records of `entry` are added; shards that `reached` it have its items. */
  begin(entry: number, reached: readonly number[]): void {
    this.#has = reached.some((upTo) => upTo >= entry) ? reached.map((upTo) => upTo >= entry) : undefined;
  }

  add({ meta, head, body }: LogRecord): void {
    if (meta.kind === 'message') this.#message(meta, head, body);
    else if (meta.kind === 'conversation') this.#conversation(meta);
    else if (meta.kind === 'payment') this.#payment(meta);
    else if (meta.kind === 'read') this.#read(meta);
    else if (meta.kind === 'notice') this.#notice(meta);
  }

  #message(meta: MessageRecord, head: Buffer, body: Buffer): void {
    const members = meta.pair ?? this.#recipients.membersOf(meta.conversation_id);
    const prefix: ItemHead = {
      flags: members.length <= this.#shape.STATUS_MAX_MEMBERS ? WANTS_DELIVERED : 0,
      base: 0,
      expires_at: meta.expires_at ?? 0,
      seq: meta.seq,
      device_id: meta.device_id,
      conversation_id: meta.conversation_id,
      message_id: meta.id,
      user_id: meta.user_id,
      type: 'message.created',
    };
    if (meta.envelopes) {
      const literals = unpackEnvelopes(body);
      meta.envelopes.forEach(({ device_id, user_id }, i) => {
        if (device_id !== meta.device_id && !this.#recipients.isGone(device_id))
          this.#put([user_id], device_id, prefix, [head, literals[i]!, END]);
      });
      return;
    }
    const to = meta.self ? members : members.filter((user) => user !== meta.user_id);
    this.#put(to, 'all', prefix, [head, body, END]);
  }

  #conversation(meta: ConversationRecord): void {
    const { conversation_id: id, type, name, members } = meta;
    const frame = `"conversation":${text({ id, type, name, last_seq: 0, members_count: members.length })}}`;
    this.#put(
      members.map(([user]) => user),
      'all',
      this.#plain(meta, 'conversation.updated'),
      [Buffer.from(frame)],
    );
  }

  /** The others hear that their messages were read; the reader's own devices where the reader is now. */
  #read(meta: ReadRecord): void {
    const { conversation_id, seq, user_id, device_id } = meta;
    const rest = Buffer.from(text({ conversation_id, seq, user_id, device_id }).slice(1));
    this.#put([user_id], 'all', this.#plain(meta, 'receipt.read'), [rest]);
    const members = meta.pair ?? this.#recipients.membersOf(conversation_id);
    if (members.length > this.#shape.STATUS_MAX_MEMBERS) return;
    const others = members.filter((user) => user !== user_id);
    this.#put(others, 'all', this.#plain(meta, 'message.status'), [Buffer.from('"status":"read",'), rest]);
  }

  /** What concerns a person and no conversation. */
  #notice({ user_id, device_id, type, audience, fields }: NoticeRecord): void {
    const head = {
      flags: 0,
      base: 0,
      expires_at: 0,
      seq: 0,
      device_id,
      user_id,
      conversation_id: '',
      message_id: '',
      type,
    };
    const rest = [Buffer.from(text(fields).slice(1))];
    if (audience === 'partners') this.#put(this.#recipients.partnersOf(user_id), 'all', head, rest);
    else if (!this.#recipients.isGone(audience.device_id)) this.#put([user_id], audience.device_id, head, rest);
  }

  #payment(meta: PaymentRecord): void {
    const { request_id, conversation_id, state, transfer_id, seq, at } = meta;
    const updated_at = new Date(at).toISOString();
    const frame = `"payment":${text({ request_id, conversation_id, state, transfer_id, seq, updated_at })}}`;
    const to = meta.pair ?? this.#recipients.membersOf(conversation_id);
    this.#put(to, 'all', this.#plain(meta, 'payment.updated'), [Buffer.from(frame)]);
  }

  #plain(meta: ConversationRecord | ReadRecord | PaymentRecord, type: string): ItemHead {
    const { seq, device_id, user_id, conversation_id } = meta;
    return { flags: 0, base: 0, expires_at: 0, seq, device_id, user_id, conversation_id, message_id: '', type };
  }

  /** The same bytes for all users of a shard: only the cursor base differs between shards. */
  #put(users: readonly string[], target: string, head: ItemHead, rest: Buffer[]): void {
    const made: Buffer[] = [];
    for (const user of users) {
      const shard = shardOf(user, this.#shape.INBOX_SHARDS);
      if (this.#has?.[shard]) continue;
      let data = made[shard];
      if (!data) {
        head.base = this.#bases[shard]!;
        data = encodeItem(head, rest);
        made[shard] = data;
      }
      this.shards[shard]!.push({ subject: subject.inbox(user, target, this.#shape.INBOX_SHARDS), data });
      this.counts.set(user, (this.counts.get(user) ?? 0) + 1);
    }
  }
}
