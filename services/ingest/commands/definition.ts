/** Defines one kind of command: which look-ups it needs, and how it is decided. */
import type { Command } from '../../../shared/pipeline/commands.ts';
import type { PartitionState } from '../partition-state.ts';
import type { Person } from '../store.ts';
import type { CommandAnswer, CommandContext } from './context.ts';

/** Look-ups that a batch needs before it is decided; one query of each kind answers them. */
export interface Lookups {
  users: Set<string>;
  payments: [conversation: string, request: string][];
}

/** Look-ups that are only possible once conversations and people are known. */
export interface FollowUps {
  users: Set<string>;
  /** By `sentKey`: sends whose client id may have been accepted before. */
  doubtful: Map<string, [conversation: string, user: string, client_message_id: string]>;
}

export interface CommandDefinition<C extends Command> {
  /** Adds what the command needs besides its conversation, which is always looked up. */
  collectLookups: (command: C, lookups: Lookups) => void;
  /** Adds what the command needs after the first look-ups were answered. */
  collectFollowUps: (
    command: C,
    state: PartitionState,
    people: ReadonlyMap<string, Person>,
    followUps: FollowUps,
  ) => void;
  /**
   * Decides the command and adds its record to the entry of `context`. Pure but for the context; waits for nothing.
   * @throws {ApiError} when the command is refused
   */
  decide: (context: CommandContext, command: C, body: Uint8Array, gateway: string, tag: number) => CommandAnswer;
}
