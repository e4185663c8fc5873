/**
 * Decides a command: may this person do that, is it new, and which number does it get. Pure but for the state it is
 * given; nothing here waits, so the commands of a batch are decided in their order.
 */

import type { FullFor } from '../../nats/inbox/full-inboxes.ts';
import { ApiError } from '../../shared/contract/errors.ts';
import { rankOf } from '../../shared/contract/payments.ts';
import { uuid7 } from '../../shared/ids.ts';
import type {
  Command,
  CreateCommand,
  DirectCommand,
  Incoming,
  NoticeCommand,
  PaymentCommand,
  ReadCommand,
  SendCommand,
} from '../../shared/pipeline/commands.ts';
import { EntryWriter, type LogMeta, type MessageRecord } from '../../shared/pipeline/entry.ts';
import { messageHead, openDirect, openGroup, pairOf, refuse } from './conversation.ts';
import { addressEnvelopes } from './envelopes.ts';
import type { PartitionState } from './partition-state.ts';
import { type Accepted, type Conversation, type Person, paymentKey, sentKey } from './store.ts';

export interface Decision {
  tag: number;
  reply: string;
  answer?: [message_id: string, conversation_id: string, seq: number, repeated: 0 | 1];
  error?: ApiError;
}
export interface Limits {
  GROUP_MAX_MEMBERS: number;
}
/** What Postgres said of the people and sends of one batch. */
export interface Loaded {
  people: ReadonlyMap<string, Person>;
  /** By `sentKey`: sends that were accepted long ago. */
  accepted: ReadonlyMap<string, Accepted>;
  /** By `sentKey`: sends of which only Postgres knows whether they were accepted, and it did not answer. */
  undecided: ReadonlySet<string>;
  /** Postgres did not answer: whatever is not known here may exist all the same. */
  incomplete: boolean;
}
const NOTHING: Loaded = { people: new Map(), accepted: new Map(), undecided: new Set(), incomplete: false };

export const unavailable = (message: string): ApiError =>
  new ApiError('unavailable', message, { retry_after_ms: 1_000 });
const DATABASE_AWAY = 'the database does not answer; send it again with the same client_message_id';

export class CommandHandler {
  readonly #state: PartitionState;
  readonly #full: ReadonlyMap<string, FullFor>;
  readonly #limits: Limits;
  /** Of this batch. */
  loaded: Loaded = NOTHING;
  entry = new EntryWriter();
  #now = 0;
  #nowText = '';

  /** `full`: users whose inbox is full. */
  constructor(state: PartitionState, full: ReadonlyMap<string, FullFor>, limits: Limits) {
    this.#state = state;
    this.#full = full;
    this.#limits = limits;
  }

  begin(now: number): void {
    this.entry = new EntryWriter();
    this.#now = now;
    this.#nowText = new Date(now).toISOString();
  }

  decide({ tag, command, body }: Incoming, reply: string): Decision {
    const gateway = reply.slice(reply.indexOf('.') + 1);
    try {
      return { tag, reply, answer: this.#one(command, body, gateway, tag) };
    } catch (error) {
      if (error instanceof ApiError) return { tag, reply, error };
      throw error;
    }
  }

  #one(command: Command, body: Uint8Array, gateway: string, tag: number): NonNullable<Decision['answer']> {
    switch (command.kind) {
      case 'send':
        return this.#send(command, body, gateway, tag);
      case 'read':
        return this.#read(command);
      case 'create':
        return this.#create(command);
      case 'direct':
        return this.#direct(command);
      case 'notice':
        return this.#notice(command, gateway, tag);
      case 'payment':
        return this.#payment(command);
    }
  }

  #send(command: SendCommand, body: Uint8Array, gateway: string, tag: number): NonNullable<Decision['answer']> {
    const { conversation_id, user_id, device_id, client_message_id } = command;
    const before = this.#before(command);
    if (before) return [before.message_id, before.conversation_id, before.seq, 1];
    const known = this.#conversation(conversation_id);
    const conversation = known ?? openDirect(command, this.#people);
    if (!conversation.members.has(user_id)) refuse('not_found', 'there is no such conversation');
    this.#refuseFull(conversation, user_id);
    const pair = pairOf(conversation);
    const envelopes = command.envelopes && addressEnvelopes(command, conversation, this.#people, body);

    const id = uuid7();
    if (!known) this.#state.begin(conversation);
    const seq = this.#state.takeSeq(conversation);
    const expires = command.expires_in_sec === undefined ? undefined : this.#now + command.expires_in_sec * 1_000;
    const meta: MessageRecord = {
      kind: 'message',
      id,
      conversation_id: conversation.id,
      seq,
      user_id,
      device_id,
      client_message_id,
      at: this.#now,
      gateway,
      tag,
      pair,
      opens: known ? undefined : true,
      self: (this.loaded.people.get(user_id)?.devices.length ?? 2) > 1 || undefined,
      envelopes,
      attachments: command.attachments,
      reply_to: command.reply_to,
      expires_at: expires,
      signature: command.signature,
    };
    this.#state.accept(meta);
    this.entry.add(meta, messageHead(meta, this.#nowText), body);
    return [id, conversation.id, seq, 0];
  }

  /** @throws {ApiError} `unavailable` */
  #before({ conversation_id, user_id, client_message_id }: SendCommand): Accepted | undefined {
    const key = sentKey(conversation_id, user_id, client_message_id);
    const before = this.#state.accepted.get(key) ?? this.loaded.accepted.get(key);
    if (!before && this.loaded.undecided.has(key)) throw unavailable(DATABASE_AWAY);
    return before;
  }

  /** Undefined where there is none for certain. @throws {ApiError} `unavailable` */
  #conversation(id: string): Conversation | undefined {
    const known = this.#state.conversations.get(id);
    if (!known && this.loaded.incomplete) throw unavailable(DATABASE_AWAY);
    return known;
  }

  /** The person, undefined where there is none for certain. @throws {ApiError} `unavailable` */
  readonly #people = (user: string): Person | undefined => {
    const person = this.loaded.people.get(user);
    if (!person && this.loaded.incomplete) throw unavailable(DATABASE_AWAY);
    return person;
  };

  /** Nobody's waiting items are dropped for new ones: whoever writes to a full inbox hears so. */
  #refuseFull({ members, type }: Conversation, sender: string): void {
    if (!this.#full.size) return;
    for (const user of members.keys()) {
      const full = user === sender ? undefined : this.#full.get(user);
      if (full === 'all' || (full === 'groups' && type !== 'direct'))
        refuse('queue_full', 'a recipient has too much waiting; try again later');
    }
  }

  #existing(id: string): Conversation {
    return this.#conversation(id) ?? refuse('not_found', 'there is no such conversation');
  }

  #notice(
    { conversation_id, user_id, device_id, type, audience, fields, removed }: NoticeCommand,
    gateway: string,
    tag: number,
  ): NonNullable<Decision['answer']> {
    const about = { conversation_id, seq: 0, user_id, device_id, at: this.#now, gateway, tag };
    this.#add({ kind: 'notice', ...about, type, audience, fields, removed });
    return ['', conversation_id, 0, 0];
  }

  #read({ conversation_id, user_id, device_id, seq }: ReadCommand): NonNullable<Decision['answer']> {
    const conversation = this.#existing(conversation_id);
    if (!conversation.members.has(user_id)) refuse('not_found', 'there is no such conversation');
    if (seq > conversation.last_seq) refuse('invalid_request', 'seq: the conversation has not come that far');
    if (seq <= (conversation.read.get(user_id) ?? 0)) return ['', conversation_id, seq, 1];
    this.#state.moveRead(conversation, user_id, seq);
    const pair = pairOf(conversation);
    this.#add({ kind: 'read', conversation_id, seq, user_id, device_id, at: this.#now, pair });
    return ['', conversation_id, seq, 0];
  }

  /** A payment goes only forward in a conversation; what it has heard before is answered, not recorded. */
  #payment(command: PaymentCommand): NonNullable<Decision['answer']> {
    const { conversation_id, user_id, device_id, request_id, state, transfer_id, again } = command;
    const conversation = this.#existing(conversation_id);
    if (user_id && !conversation.members.has(user_id)) refuse('not_found', 'there is no such conversation');
    const key = paymentKey(conversation_id, request_id);
    const rank = rankOf(state);
    const payment = this.#state.payments.get(key);
    if (!payment && this.loaded.incomplete) throw unavailable(DATABASE_AWAY);
    const known = payment?.rank ?? 0;
    const seq = conversation.last_seq;
    if (rank < known || (rank === known && !again)) return ['', conversation_id, seq, 1];
    this.#state.movePayment(key, rank);
    const pair = pairOf(conversation);
    this.#add({
      ...{ kind: 'payment', conversation_id, seq, user_id, device_id, at: this.#now },
      ...{ pair, request_id, state, transfer_id },
    });
    return ['', conversation_id, seq, 0];
  }

  #create(command: CreateCommand): NonNullable<Decision['answer']> {
    const { conversation_id, user_id } = command;
    const known = this.#conversation(conversation_id);
    if (known) {
      if (!known.members.has(user_id)) refuse('conflict', 'there is a conversation with this id');
      return ['', conversation_id, known.last_seq, 1];
    }
    this.#begin(openGroup(command, this.#people, this.#limits.GROUP_MAX_MEMBERS), command);
    return ['', conversation_id, 0, 0];
  }

  #direct(command: DirectCommand): NonNullable<Decision['answer']> {
    const { conversation_id } = command;
    const known = this.#conversation(conversation_id);
    if (known) return ['', conversation_id, known.last_seq, 1];
    this.#begin(openDirect(command, this.#people), command);
    return ['', conversation_id, 0, 0];
  }

  #begin(
    conversation: Conversation,
    by: { user_id: string; device_id: string; name?: string | undefined; description?: string | undefined },
  ): void {
    this.#state.begin(conversation);
    const { id: conversation_id, type } = conversation;
    const { user_id, device_id, name, description } = by;
    this.#add({
      kind: 'conversation',
      conversation_id,
      seq: 0,
      user_id,
      device_id,
      at: this.#now,
      type,
      name,
      description,
      members: [...conversation.members],
    });
  }

  #add(meta: LogMeta): void {
    this.entry.add(meta);
  }
}
