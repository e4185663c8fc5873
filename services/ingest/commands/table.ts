/** Lists the definition of every kind of command. */
import type { Command } from '../../../shared/pipeline/commands.ts';
import type { CommandKind, CommandOf } from '../../../shared/pipeline/kinds.ts';
import { create } from './create.ts';
import type { CommandDefinition } from './definition.ts';
import { direct } from './direct.ts';
import { notice } from './notice.ts';
import { payment } from './payment.ts';
import { read } from './read.ts';
import { send } from './send.ts';

export type CommandTable = { [K in CommandKind]: CommandDefinition<CommandOf<K>> };

const COMMANDS = { send, create, direct, read, notice, payment } satisfies CommandTable;

/** The definition for the kind of this command. */
export const definitionOf = (command: Command): CommandDefinition<Command> =>
  COMMANDS[command.kind] as CommandDefinition<Command>;
