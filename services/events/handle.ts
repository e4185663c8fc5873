/** What the outside is told of a record of the log. */
import type { ConversationType } from '../../shared/contract/scalars.ts';
import { derivedId } from '../../shared/ids.ts';
import type { ConversationRecord, LogRecord, MessageRecord } from '../../shared/pipeline/entry.ts';
import { type Event, event } from '../../shared/pipeline/events.ts';

/** Each as a line of JSON. Most are `chat.message.created`, which are put together as text: nothing in them wants escaping. */
export function linesOf(record: LogRecord): string[] {
  const { meta } = record;
  if (meta.kind === 'message' && !meta.opens && !meta.attachments) return [createdLine(meta)];
  return eventsOf(record).map((one) => JSON.stringify(one));
}

function createdLine(meta: MessageRecord): string {
  const { id, conversation_id, seq, user_id, device_id, at, reply_to, expires_at } = meta;
  const sent = isoTime(at);
  let text = `{"id":"${derivedId(at, `chat.message.created ${id}`)}","type":"chat.message.created","timestamp":"${sent}","conversation_id":"${conversation_id}","data":{"message_id":"${id}","conversation_id":"${conversation_id}","seq":${seq},"sender_id":"${user_id}","sender_device_id":"${device_id}","sent_at":"${sent}","attachments_count":0`;
  if (reply_to) text += `,"reply_to":"${reply_to}"`;
  if (expires_at) text += `,"expires_at":"${isoTime(expires_at)}"`;
  return `${text}}}`;
}

let lastAt = -1;
let lastText = '';
/** Messages of one entry have one time. */
function isoTime(at: number): string {
  if (at !== lastAt) {
    lastAt = at;
    lastText = new Date(at).toISOString();
  }
  return lastText;
}

export function eventsOf({ meta }: LogRecord): Event[] {
  switch (meta.kind) {
    case 'message':
      return [
        ...(meta.opens
          ? begun(
              meta,
              'direct',
              meta.pair!.map((user) => [user, 'member']),
            )
          : []),
        ...written(meta),
      ];
    case 'conversation':
      return begun(meta, meta.type, meta.members);
    case 'read': {
      const { conversation_id, seq, user_id, device_id, at } = meta;
      const data = { conversation_id, seq, user_id, device_id };
      return [event('chat.message.read', at, `${conversation_id} ${user_id} ${seq}`, data, conversation_id)];
    }
    case 'notice':
    case 'payment':
      return [];
  }
}

function begun(
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

function written(meta: MessageRecord): Event[] {
  const { id: message_id, conversation_id, seq, user_id: sender_id, at, attachments = [] } = meta;
  const created = {
    message_id,
    conversation_id,
    seq,
    sender_id,
    sender_device_id: meta.device_id,
    sent_at: new Date(at).toISOString(),
    attachments_count: attachments.length,
    ...(meta.reply_to && { reply_to: meta.reply_to }),
    ...(meta.expires_at && { expires_at: new Date(meta.expires_at).toISOString() }),
  };
  return [
    event('chat.message.created', at, message_id, created, conversation_id),
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
