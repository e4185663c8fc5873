/** The closed sets of kinds: a table that leaves one kind out does not compile, and the tables have every kind. */
import test from 'ava';
import type { EventTable } from '../../services/events/handle.ts';
import type { CreatedFields } from '../../services/events/message-created.ts';
import type { ItemTable } from '../../services/fanout/items-of-record.ts';
import type { RecipientTable } from '../../services/fanout/members.ts';
import type { RemovedDeviceTable } from '../../services/fanout/removed-devices.ts';
import type { ExtraColumns } from '../../services/history/insert-messages.ts';
import type { ProjectionTable } from '../../services/history/projections.ts';
import type { CommandTable } from '../../services/ingest/commands/table.ts';
import type { ReplayTable } from '../../services/ingest/log-tail.ts';
import type { ExtraWriters } from '../../services/ingest/message-head.ts';
import type { Policy } from '../../services/ingest/policy.ts';
import type { RecordedExtras } from '../../shared/pipeline/entry.ts';
import type { CommandKind, RecordKind } from '../../shared/pipeline/kinds.ts';

/** Compiles only where the two sets of keys are the same. */
type Same<A, B> = [A] extends [B] ? ([B] extends [A] ? true : never) : never;
const tablesOfAllKinds: [
  Same<keyof CommandTable, CommandKind>,
  Same<keyof Policy, CommandKind>,
  Same<keyof ReplayTable, RecordKind>,
  Same<keyof ItemTable, RecordKind>,
  Same<keyof RecipientTable, RecordKind>,
  Same<keyof RemovedDeviceTable, RecordKind>,
  Same<keyof ProjectionTable, RecordKind>,
  Same<keyof EventTable, RecordKind>,
  Same<keyof ExtraColumns, keyof RecordedExtras>,
  Same<keyof ExtraWriters, keyof RecordedExtras>,
] = [true, true, true, true, true, true, true, true, true, true];

/** The table without one of its entries. */
const without = <T, K extends keyof T>(_key: K): Omit<T, K> => ({}) as Omit<T, K>;

// If a table could leave out a kind, the directive above it would be unused, which does not compile either.
const incompleteTables = [
  // @ts-expect-error ingest decides every kind of command
  without<CommandTable, 'payment'>('payment') satisfies CommandTable,
  // @ts-expect-error ingest has a rule for every kind of command
  without<Policy, 'read'>('read') satisfies Policy,
  // @ts-expect-error ingest knows what every kind of record does to its state
  without<ReplayTable, 'notice'>('notice') satisfies ReplayTable,
  // @ts-expect-error fanout makes items of every kind of record
  without<ItemTable, 'payment'>('payment') satisfies ItemTable,
  // @ts-expect-error fanout finds the recipients of every kind of record
  without<RecipientTable, 'read'>('read') satisfies RecipientTable,
  // @ts-expect-error fanout knows which kinds of record remove a device
  without<RemovedDeviceTable, 'message'>('message') satisfies RemovedDeviceTable,
  // @ts-expect-error history projects every kind of record
  without<ProjectionTable, 'notice'>('notice') satisfies ProjectionTable,
  // @ts-expect-error events says which events every kind of record causes
  without<EventTable, 'payment'>('payment') satisfies EventTable,
  // @ts-expect-error history has a column for every optional field of a message
  without<ExtraColumns, 'signature'>('signature') satisfies ExtraColumns,
  // @ts-expect-error ingest writes every optional field of a message
  without<ExtraWriters, 'attachments'>('attachments') satisfies ExtraWriters,
  // @ts-expect-error events fills every field of chat.message.created
  without<CreatedFields, 'reply_to'>('reply_to') satisfies CreatedFields,
];

test('each worker has a table of all kinds of commands or records', (t) => {
  t.true(tablesOfAllKinds.every((same) => same));
  t.is(incompleteTables.length, 11);
});
