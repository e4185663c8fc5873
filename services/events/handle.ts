/** The events that each kind of record causes, for webhooks. Pure. */
import type { ConversationType } from '../../shared/contract/scalars.ts';
import type { ConversationRecord, LogMeta, LogRecord, MessageRecord, ReadRecord } from '../../shared/pipeline/entry.ts';
import { type Event, event } from '../../shared/pipeline/events.ts';
import type { RecordKind, RecordOf } from '../../shared/pipeline/kinds.ts';
import { messageCreated, messageCreatedLine } from './message-created.ts';

type EventsOf<R extends LogMeta> = (record: R) => Event[];
export type EventTable = { [K in RecordKind]: EventsOf<RecordOf<K>> };

const NOTHING: Event[] = [];
/** For a kind that causes no event. The reason is for readers of the table. */
const noEvents = (_reason: string) => (): Event[] => NOTHING;

const EVENTS_OF = {
  message: eventsOfMessage,
  conversation: (record) => conversationCreated(record, record.type, record.members),
  read: eventsOfRead,
  notice: noEvents('events about devices and keys come from the outbox, by the transaction that makes them true'),
  payment: noEvents('payments-webhook writes them to the outbox, once for each step of a request'),
} satisfies EventTable;

/** The events of a record as objects. */
export const eventsOf = ({ meta }: LogRecord): Event[] => (EVENTS_OF[meta.kind] as EventsOf<LogMeta>)(meta);

/** The events of a record as lines of JSON. Most records cause one `chat.message.created`, which has a faster way. */
export function eventLines(record: LogRecord): string[] {
  const { meta } = record;
  if (meta.kind === 'message' && !meta.opens && !meta.attachments) return [messageCreatedLine(meta)];
  return eventsOf(record).map((one) => JSON.stringify(one));
}

function eventsOfMessage(record: MessageRecord): Event[] {
  const { id: message_id, conversation_id, user_id: sender_id, at, pair, opens, attachments = [] } = record;
  const created = opens
    ? conversationCreated(
        record,
        'direct',
        pair!.map((user) => [user, 'member']),
      )
    : NOTHING;
  return [
    ...created,
    messageCreated(record),
    // A file's name is for the recipients.
    ...attachments.map(({ media_id, content_type, size }, i) =>
      event(
        'chat.attachment.added',
        at,
        `${message_id} ${i}`,
        {
          message_id,
          conversation_id,
          sender_id,
          media_id,
          ...(content_type !== undefined && { content_type }),
          ...(size !== undefined && { size }),
        },
        conversation_id,
      ),
    ),
  ];
}

function eventsOfRead({ conversation_id, seq, user_id, device_id, at }: ReadRecord): Event[] {
  const data = { conversation_id, seq, user_id, device_id };
  return [event('chat.message.read', at, `${conversation_id} ${user_id} ${seq}`, data, conversation_id)];
}

function conversationCreated(
  { conversation_id, user_id, at }: { conversation_id: string; user_id: string; at: number },
  conversation_type: ConversationType,
  members: ConversationRecord['members'],
): Event[] {
  const data = { conversation_id, conversation_type, created_by: user_id, members_count: members.length };
  return [
    event('chat.conversation.created', at, conversation_id, data, conversation_id),
    ...members.map(([member, role]) =>
      event(
        'chat.member.added',
        at,
        `${conversation_id} ${member} 0`,
        { conversation_id, user_id: member, role, joined_seq: 0 },
        conversation_id,
      ),
    ),
  ];
}
