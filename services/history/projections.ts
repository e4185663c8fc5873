/** Sorts records into the rows that history writes for each kind. */
import type {
  ConversationRecord,
  LogMeta,
  LogRecord,
  MessageRecord,
  PaymentRecord,
  ReadRecord,
} from '../../shared/pipeline/entry.ts';
import { ignore, type RecordKind, type RecordOf } from '../../shared/pipeline/kinds.ts';

export interface Rows {
  messages: { meta: MessageRecord; body: Buffer }[];
  conversations: ConversationRecord[];
  reads: ReadRecord[];
  payments: PaymentRecord[];
}
export const emptyRows = (): Rows => ({ messages: [], conversations: [], reads: [], payments: [] });

type Collect<R extends LogMeta> = (rows: Rows, meta: R, body: Buffer) => void;
export type ProjectionTable = { [K in RecordKind]: Collect<RecordOf<K>> };

const PROJECTIONS = {
  message: collectMessage,
  conversation: ({ conversations }, meta) => void conversations.push(meta),
  read: ({ reads }, meta) => void reads.push(meta),
  payment: ({ payments }, meta) => void payments.push(meta),
  notice: ignore('it belongs to no conversation; the api has written what it tells of'),
} satisfies ProjectionTable;

/** Adds the rows of these records to `rows`, in their order. */
export function collectRows(records: LogRecord[], rows: Rows): void {
  for (const { meta, body } of records) (PROJECTIONS[meta.kind] as Collect<LogMeta>)(rows, meta, body);
}

/** The first message of a direct conversation creates it. */
function collectMessage({ messages, conversations }: Rows, meta: MessageRecord, body: Buffer): void {
  messages.push({ meta, body });
  if (meta.opens)
    conversations.push({
      ...meta,
      kind: 'conversation',
      type: 'direct',
      seq: 0,
      members: meta.pair!.map((user) => [user, 'member']),
    });
}
