/** After a gap: everything that history still has and this device has not handled. */
import type { Conversation, Message } from '../shared/contract/objects.ts';
import type { Seen } from './seen.ts';
import type { Session } from './session.ts';

interface Page<T> {
  items: T[];
  next_cursor: string | null;
}

/** @param handle gets what may be new, in order of seq per conversation; @throws SealwireError when the API can't be reached */
export async function resync(session: Session, seen: Seen, handle: (message: Message) => unknown): Promise<void> {
  for (let cursor: string | null = ''; cursor !== null; ) {
    const query: string = cursor === '' ? '' : `&cursor=${encodeURIComponent(cursor)}`;
    const page: Page<Conversation> = await session.call('GET', `/v1/conversations?limit=100${query}`);
    for (const { id, last_seq } of page.items) await conversation(session, seen, id, last_seq, handle);
    cursor = page.next_cursor;
  }
}

async function conversation(
  session: Session,
  seen: Seen,
  id: string,
  last_seq: number,
  handle: (message: Message) => unknown,
): Promise<void> {
  let after = seen.contiguous(id);
  while (after < last_seq) {
    const { items } = await session.call<Page<Message>>(
      'GET',
      `/v1/conversations/${id}/messages?after_seq=${after}&limit=100`,
    );
    for (const message of items) await handle(message);
    if (items.length === 0) break;
    after = items.at(-1)!.seq;
  }
  // A place that history does not show (a record that is no message, or purged) is not asked for again.
  seen.settle(id, Math.max(after, last_seq));
}
