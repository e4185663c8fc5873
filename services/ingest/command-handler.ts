/**
 * Decides commands one after the other: each is accepted and recorded in the entry, or refused. Pure but for the state that
 * it is given; nothing here waits, so the commands of a batch are decided in their order.
 */
import type { FullFor } from '../../nats/inbox/full-inboxes.ts';
import { ApiError } from '../../shared/contract/errors.ts';
import type { Incoming } from '../../shared/pipeline/commands.ts';
import type { EntryWriter } from '../../shared/pipeline/entry.ts';
import { type CommandAnswer, CommandContext, type CommandLimits, type LoadedBatch } from './commands/context.ts';
import { definitionOf } from './commands/table.ts';
import type { PartitionState } from './partition-state.ts';

export interface Decision {
  tag: number;
  reply: string;
  answer?: CommandAnswer;
  error?: ApiError;
}

export class CommandHandler {
  readonly #context: CommandContext;

  /** `full`: users whose inbox is full. */
  constructor(state: PartitionState, full: ReadonlyMap<string, FullFor>, limits: CommandLimits) {
    this.#context = new CommandContext(state, full, limits);
  }

  /** The entry that takes the records of accepted commands. */
  get entry(): EntryWriter {
    return this.#context.entry;
  }

  /** Begins a batch, with what was loaded for it. */
  beginBatch(loaded: LoadedBatch): void {
    this.#context.loaded = loaded;
  }

  /** Begins a new entry of the log, whose records have the time `now`, ms since 1970. */
  beginEntry(now: number): void {
    this.#context.beginEntry(now);
  }

  decide({ tag, command, body }: Incoming, reply: string): Decision {
    const gateway = reply.slice(reply.indexOf('.') + 1);
    try {
      return { tag, reply, answer: definitionOf(command).decide(this.#context, command, body, gateway, tag) };
    } catch (error) {
      if (error instanceof ApiError) return { tag, reply, error };
      throw error;
    }
  }
}
