/** The context of a decision: the state of the partition, what was loaded for the batch, and the entry being written. */
import type { FullFor } from '../../../nats/inbox/full-inboxes.ts';
import { EntryWriter, type LogMeta } from '../../../shared/pipeline/entry.ts';
import type { PartitionState } from '../partition-state.ts';
import { databaseUnavailable, refuse } from '../refusals.ts';
import type { Accepted, Conversation, Person } from '../store.ts';

/** The answer to the gateway for a command that was accepted. */
export type CommandAnswer = [message_id: string, conversation_id: string, seq: number, repeated: 0 | 1];

export interface CommandLimits {
  GROUP_MAX_MEMBERS: number;
}

/** The people and sends of one batch as Postgres knows them. */
export interface LoadedBatch {
  people: ReadonlyMap<string, Person>;
  /** By `sentKey`: sends that were accepted long ago. */
  accepted: ReadonlyMap<string, Accepted>;
  /** By `sentKey`: sends of which only Postgres knows whether they were accepted, and it did not answer. */
  undecided: ReadonlySet<string>;
  /** Postgres did not answer: a person or conversation that is not known here may exist all the same. */
  isIncomplete: boolean;
}

const NOTHING_LOADED: LoadedBatch = {
  people: new Map(),
  accepted: new Map(),
  undecided: new Set(),
  isIncomplete: false,
};

export class CommandContext {
  readonly state: PartitionState;
  /** Users whose inbox is full. */
  readonly full: ReadonlyMap<string, FullFor>;
  readonly limits: CommandLimits;
  /** Of the batch that is being decided. */
  loaded: LoadedBatch = NOTHING_LOADED;
  /** Takes the records of the commands that are accepted. */
  entry = new EntryWriter();
  /** The time of all records of the entry, ms since 1970, and the same as RFC 3339. */
  now = 0;
  nowText = '';

  constructor(state: PartitionState, full: ReadonlyMap<string, FullFor>, limits: CommandLimits) {
    this.state = state;
    this.full = full;
    this.limits = limits;
  }

  /** Begins a new entry of the log, whose records have the time `now`. */
  beginEntry(now: number): void {
    this.entry = new EntryWriter();
    this.now = now;
    this.nowText = new Date(now).toISOString();
  }

  addRecord(meta: LogMeta): void {
    this.entry.add(meta);
  }

  /**
   * Returns the conversation; undefined where none exists for certain.
   * @throws {ApiError} `unavailable` where that is not certain
   */
  findConversation(id: string): Conversation | undefined {
    const known = this.state.conversations.get(id);
    if (!known && this.loaded.isIncomplete) throw databaseUnavailable();
    return known;
  }

  /** @throws {ApiError} `not_found`, `unavailable` */
  getConversation(id: string): Conversation {
    return this.findConversation(id) ?? refuse('not_found', 'there is no such conversation');
  }

  /**
   * Returns the person; undefined where none exists for certain.
   * @throws {ApiError} `unavailable` where that is not certain
   */
  readonly findPerson = (user: string): Person | undefined => {
    const person = this.loaded.people.get(user);
    if (!person && this.loaded.isIncomplete) throw databaseUnavailable();
    return person;
  };

  /** Makes a new conversation known and records it. */
  recordConversation(
    conversation: Conversation,
    by: { user_id: string; device_id: string; name?: string | undefined; description?: string | undefined },
  ): void {
    this.state.addConversation(conversation);
    const { id: conversation_id, type } = conversation;
    const { user_id, device_id, name, description } = by;
    this.addRecord({
      kind: 'conversation',
      conversation_id,
      seq: 0,
      user_id,
      device_id,
      at: this.now,
      type,
      name,
      description,
      members: [...conversation.members],
    });
  }
}
