/** Fetches, after a gap in the inbox, every message that history holds and this device has not handled. */
import type { Conversation, Message } from '../shared/contract/objects.ts';
import type { HandledMessages } from './handled-messages.ts';
import { fetchPages } from './pagination.ts';
import type { Session } from './session.ts';

/**
 * Goes through all conversations of this person.
 * @param handle is given messages that may be new, in order of seq within a conversation
 * @throws SealwireError when the API can't be reached
 */
export async function resyncConversations(
  session: Session,
  handledMessages: HandledMessages,
  handle: (message: Message) => unknown,
): Promise<void> {
  for await (const conversations of fetchPages<Conversation>(session, '/v1/conversations'))
    for (const conversation of conversations) await resyncConversation(session, handledMessages, conversation, handle);
}

async function resyncConversation(
  session: Session,
  handledMessages: HandledMessages,
  { id, last_seq }: Conversation,
  handle: (message: Message) => unknown,
): Promise<void> {
  let after = handledMessages.contiguousSeq(id);
  while (after < last_seq) {
    const path = `/v1/conversations/${id}/messages?after_seq=${after}&limit=100`;
    const { items } = await session.call<{ items: Message[] }>('GET', path);
    for (const message of items) await handle(message);
    if (items.length === 0) break;
    after = items.at(-1)!.seq;
  }
  // History does not show some seqs (purged messages, records that are no message). They are not asked for again.
  handledMessages.markCompleteUpTo(id, Math.max(after, last_seq));
}
