/**
 * Checks rows that history did not insert because another row has their place. The same record again is harmless (the
 * position was set back, or two workers wrote a batch). Anything else means that two records claim one place, and dropping one
 * of them would lose a message that was promised.
 */
import type { Query } from '../../shared/db/database.ts';
import type { ConversationRecord, MessageRecord } from '../../shared/pipeline/entry.ts';

export class Conflict extends Error {
  override name = 'Conflict';
}

/** @throws {Conflict} unless every message that was not `inserted` is stored as its record says */
export async function checkMessages(
  query: Query,
  records: { meta: MessageRecord }[],
  inserted: { id: string }[],
): Promise<void> {
  const insertedIds = new Set(inserted.map(({ id }) => id));
  const others = records.filter(({ meta }) => !insertedIds.has(meta.id));
  const rows = await query<{ id: string; conversation_id: string; seq: number }>(
    'select id, conversation_id, seq from messages where id = any($1::uuid[])',
    [others.map(({ meta }) => meta.id)],
  );
  const stored = new Map(rows.map((row) => [row.id, row]));
  for (const { meta } of others) {
    const row = stored.get(meta.id);
    if (row?.conversation_id === meta.conversation_id && Number(row.seq) === meta.seq) continue;
    throw new Conflict(
      `message ${meta.id} (seq ${meta.seq} of conversation ${meta.conversation_id}) cannot be written: ${
        row ? `its id stands at seq ${row.seq} of conversation ${row.conversation_id}` : 'another message has its place'
      }`,
    );
  }
  // When a batch has one id twice, with two seqs, only the first was inserted.
  const places = new Map<string, string>();
  for (const { meta } of records) {
    const place = `${meta.conversation_id} ${meta.seq}`;
    if ((places.get(meta.id) ?? place) !== place)
      throw new Conflict(`message ${meta.id} is in the log with two different seqs or conversations`);
    places.set(meta.id, place);
  }
}

/** @throws {Conflict} when a stored conversation has another beginning than its record */
export async function checkConversations(query: Query, records: ConversationRecord[]): Promise<void> {
  const rows = await query<{ id: string; type: string; created_at: Date }>(
    'select id, type, created_at from conversations where id = any($1::uuid[])',
    [records.map((r) => r.conversation_id)],
  );
  const stored = new Map(rows.map((row) => [row.id, row]));
  for (const { conversation_id, type, at } of records) {
    const row = stored.get(conversation_id);
    if (row && row.type === type && row.created_at.getTime() === at) continue;
    throw new Conflict(
      `conversation ${conversation_id} begins a second time: it is stored since ${row?.created_at.toISOString()}`,
    );
  }
}
