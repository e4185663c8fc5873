/** Inserts messages: one statement for a batch, made from a table of columns. */
import type { Query } from '../../shared/db/database.ts';
import { unpackEnvelopes } from '../../shared/pipeline/commands.ts';
import type { MessageRecord, RecordedExtras } from '../../shared/pipeline/entry.ts';
import { checkMessages } from './conflicts.ts';
import type { Rows } from './projections.ts';

type MessageRow = Rows['messages'][number];
interface Column {
  type: string;
  read: (row: MessageRow) => unknown;
}
export type ExtraColumns = { [K in keyof RecordedExtras]-?: Column };

const dateOf = (ms: number | undefined): Date | null => (ms === undefined ? null : new Date(ms));

/** The column of each optional field. Extended by a migration, and read in shared/db/message-queries.ts. */
const EXTRAS = {
  attachments: { type: 'json', read: ({ meta }) => (meta.attachments ? JSON.stringify(meta.attachments) : null) },
  reply_to: { type: 'uuid', read: ({ meta }) => meta.reply_to ?? null },
  expires_at: { type: 'timestamptz', read: ({ meta }) => dateOf(meta.expires_at) },
  signature: { type: 'text', read: ({ meta }) => meta.signature ?? null },
} satisfies ExtraColumns;

const COLUMNS = Object.entries<Column>({
  id: { type: 'uuid', read: ({ meta }) => meta.id },
  conversation_id: { type: 'uuid', read: ({ meta }) => meta.conversation_id },
  seq: { type: 'bigint', read: ({ meta }) => meta.seq },
  sender_id: { type: 'uuid', read: ({ meta }) => meta.user_id },
  sender_device_id: { type: 'uuid', read: ({ meta }) => meta.device_id },
  client_message_id: { type: 'text', read: ({ meta }) => meta.client_message_id },
  payload: { type: 'json', read: ({ meta, body }) => (meta.envelopes ? null : body.toString()) },
  envelopes: { type: 'json', read: envelopesJson },
  sent_at: { type: 'timestamptz', read: ({ meta }) => dateOf(meta.at) },
  ...EXTRAS,
});
const INSERT = `insert into messages (${COLUMNS.map(([name]) => name).join(', ')})
  select * from unnest(${COLUMNS.map(([, { type }], i) => `$${i + 1}::${type}[]`).join(', ')})
  on conflict do nothing returning id`;

/** `[{device_id, payload}]` as text, with the payloads' literals as they came. */
function envelopesJson({ meta, body }: MessageRow): string | null {
  if (!meta.envelopes) return null;
  const literals = unpackEnvelopes(body);
  return `[${meta.envelopes.map(({ device_id }, i) => `{"device_id":"${device_id}","payload":${literals[i]}}`).join(',')}]`;
}

/** Inserts messages and moves `last_seq` of their conversations. @throws {Conflict} */
export async function insertMessages(query: Query, rows: MessageRow[]): Promise<void> {
  const inserted = await query<{ id: string }>(
    INSERT,
    COLUMNS.map(([, { read }]) => rows.map(read)),
  );
  if (inserted.length < rows.length) await checkMessages(query, rows, inserted);
  const last = new Map<string, MessageRecord>();
  for (const { meta } of rows) last.set(meta.conversation_id, meta);
  // In one order always, so that two partitions' transactions never wait for each other in a circle.
  const moved = [...last.values()].sort((a, b) => (a.conversation_id < b.conversation_id ? -1 : 1));
  await query(
    `update conversations c set last_seq = greatest(c.last_seq, r.seq), updated_at = r.at
     from unnest($1::uuid[], $2::bigint[], $3::timestamptz[]) as r(id, seq, at) where c.id = r.id`,
    [moved.map((m) => m.conversation_id), moved.map((m) => m.seq), moved.map((m) => new Date(m.at))],
  );
}
