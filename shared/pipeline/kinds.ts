/**
 * The closed sets of kinds. Each worker has a table with one entry for every kind (`satisfies { [K in RecordKind]: … }`), so
 * a new kind does not compile until each worker says what it does with it: docs/decisions/kinds-and-fields.md.
 */
import type { Command } from './commands.ts';
import type { LogMeta, LogRecord } from './entry.ts';

export type CommandKind = Command['kind'];
export type CommandOf<K extends CommandKind> = Extract<Command, { kind: K }>;

export type RecordKind = LogMeta['kind'];
export type RecordOf<K extends RecordKind> = Extract<LogMeta, { kind: K }>;

/** The entry of a table where nothing happens for a kind. The reason is for readers of the table. */
export const ignore =
  (_reason: string): (() => undefined) =>
  () =>
    undefined;

/** Kinds that this version knows. */
const RECORD_KINDS: ReadonlySet<string> = new Set(
  Object.keys({
    message: true,
    conversation: true,
    read: true,
    notice: true,
    payment: true,
  } satisfies { [K in RecordKind]: true }),
);

/**
 * Returns the kind of the first record that this version does not know. The record was written by a newer version; a
 * reader that passed over it would miss it for ever.
 */
export const unknownKind = (records: readonly LogRecord[]): string | undefined =>
  records.find(({ meta }) => !RECORD_KINDS.has(meta.kind))?.meta.kind;
