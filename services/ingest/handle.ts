/**
 * What ingest decides: may this person do that, is it new, and which place it gets. Pure but for the state it is given;
 * nothing here waits, so commands of a batch are decided in their order.
 */
import { ApiError } from '../../shared/contract/errors.ts';
import { rankOf } from '../../shared/contract/payments.ts';
import { uuid7 } from '../../shared/ids.ts';
import {
  type Command,
  type CreateCommand,
  type DirectCommand,
  type Incoming,
  type NoticeCommand,
  type PaymentCommand,
  type ReadCommand,
  type SendCommand,
  unpackEnvelopes,
} from '../../shared/pipeline/commands.ts';
import { EntryWriter, type LogMeta, type MessageRecord } from '../../shared/pipeline/entry.ts';
import { messageHead, openDirect, openGroup, pairOf, refuse } from './conversation.ts';
import { checkDevices } from './devices.ts';
import type { Memory, Partition } from './memory.ts';
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

export class Decider {
  readonly #partition: Partition;
  readonly #memory: Memory;
  readonly #limits: Limits;
  /** Found in Postgres for this batch: sends that were accepted long ago. */
  old = new Map<string, Accepted>();
  /** Whom this batch is about, as far as they exist. */
  people: ReadonlyMap<string, Person> = new Map();
  entry = new EntryWriter();
  #now = 0;
  #nowText = '';

  constructor(partition: Partition, memory: Memory, limits: Limits) {
    this.#partition = partition;
    this.#memory = memory;
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
    const { user_id, device_id, client_message_id } = command;
    const before = this.#before(user_id, client_message_id);
    if (before) return [before.message_id, before.conversation_id, before.seq, 1];
    const known = this.#partition.conversations.get(command.conversation_id);
    const conversation = known ?? openDirect(command, this.people);
    if (!conversation.members.has(user_id)) refuse('not_found', 'there is no such conversation');
    const pair = pairOf(conversation);
    const other = pair?.find((user) => user !== user_id);
    if (other && this.#memory.full.has(other))
      refuse('queue_full', 'the recipient has too much waiting; try again later');
    const envelopes = command.envelopes && this.#envelopes(command, conversation, body);

    const id = uuid7();
    const seq = ++conversation.last_seq;
    conversation.entry = Number.POSITIVE_INFINITY;
    if (!known) this.#partition.conversations.set(conversation.id, conversation);
    this.#memory.remember(user_id, client_message_id, {
      message_id: id,
      conversation_id: conversation.id,
      seq,
      partition: this.#partition.number,
      entry: Number.POSITIVE_INFINITY,
    });
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
      self: (this.people.get(user_id)?.devices.length ?? 2) > 1 || undefined,
      envelopes,
      attachments: command.attachments,
      reply_to: command.reply_to,
      expires_at: expires,
      signature: command.signature,
    };
    this.entry.add(meta, messageHead(meta, this.#nowText), body);
    return [id, conversation.id, seq, 0];
  }

  #before(user: string, clientMessageId: string): Accepted | undefined {
    const key = sentKey(user, clientMessageId);
    const seen = this.#memory.seen.get(key);
    // In flight in another partition: not durable, so it can't be answered yet.
    if (seen && seen.partition !== this.#partition.number && seen.entry === Number.POSITIVE_INFINITY)
      throw new ApiError('unavailable', 'this client_message_id is being sent to another conversation', {
        retry_after_ms: 200,
      });
    return seen ?? this.old.get(key);
  }

  /** Whose device each envelope is for, provided that they are the right ones. */
  #envelopes(
    { user_id, device_id: sender, envelopes }: SendCommand,
    { members }: Conversation,
    body: Uint8Array,
  ): NonNullable<MessageRecord['envelopes']> {
    const people = [...members.keys()].map((user): [string, Person | undefined] => [user, this.people.get(user)]);
    const owners = checkDevices(envelopes!, people, { user_id, device_id: sender });
    if (unpackEnvelopes(body).length !== envelopes!.length)
      refuse('invalid_request', 'envelopes: one payload for each device');
    return envelopes!.map(({ device_id }) => ({ device_id, user_id: owners.get(device_id)! }));
  }

  #existing(id: string): Conversation {
    return this.#partition.conversations.get(id) ?? refuse('not_found', 'there is no such conversation');
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
    conversation.read.set(user_id, seq);
    conversation.entry = Number.POSITIVE_INFINITY;
    const pair = pairOf(conversation);
    this.#add({ kind: 'read', conversation_id, seq, user_id, device_id, at: this.#now, pair });
    return ['', conversation_id, seq, 0];
  }

  /** A payment goes only forward in a conversation; what it has heard before is answered, not recorded. */
  #payment(command: PaymentCommand): NonNullable<Decision['answer']> {
    const { conversation_id, user_id, device_id, request_id, state, transfer_id, again } = command;
    const conversation = this.#existing(conversation_id);
    if (user_id && !conversation.members.has(user_id)) refuse('not_found', 'there is no such conversation');
    const { payments } = this.#partition;
    const key = paymentKey(conversation_id, request_id);
    const rank = rankOf(state);
    const known = payments.get(key)?.rank ?? 0;
    const seq = conversation.last_seq;
    if (rank < known || (rank === known && !again)) return ['', conversation_id, seq, 1];
    payments.set(key, { rank, entry: Number.POSITIVE_INFINITY });
    const pair = pairOf(conversation);
    this.#add({
      ...{ kind: 'payment', conversation_id, seq, user_id, device_id, at: this.#now },
      ...{ pair, request_id, state, transfer_id },
    });
    return ['', conversation_id, seq, 0];
  }

  #create(command: CreateCommand): NonNullable<Decision['answer']> {
    const { conversation_id, user_id } = command;
    const known = this.#partition.conversations.get(conversation_id);
    if (known) {
      if (!known.members.has(user_id)) refuse('conflict', 'there is a conversation with this id');
      return ['', conversation_id, known.last_seq, 1];
    }
    this.#begin(openGroup(command, this.people, this.#limits.GROUP_MAX_MEMBERS), command);
    return ['', conversation_id, 0, 0];
  }

  #direct(command: DirectCommand): NonNullable<Decision['answer']> {
    const { conversation_id } = command;
    const known = this.#partition.conversations.get(conversation_id);
    if (known) return ['', conversation_id, known.last_seq, 1];
    this.#begin(openDirect(command, this.people), command);
    return ['', conversation_id, 0, 0];
  }

  #begin(
    conversation: Conversation,
    by: { user_id: string; device_id: string; name?: string | undefined; description?: string | undefined },
  ): void {
    conversation.entry = Number.POSITIVE_INFINITY;
    this.#partition.conversations.set(conversation.id, conversation);
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
