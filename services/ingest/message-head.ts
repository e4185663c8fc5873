/** The head of a message as text: the reader's JSON object up to the payload, see shared/pipeline/entry.ts. */
import type { MessageRecord } from '../../shared/pipeline/entry.ts';

/** Ids need no escaping; the client's own id may. */
export function messageHead(meta: MessageRecord, sentAt: string): Buffer {
  let text = `"message":{"id":"${meta.id}","conversation_id":"${meta.conversation_id}","seq":${meta.seq},"sender_id":"${meta.user_id}","sender_device_id":"${meta.device_id}","client_message_id":${JSON.stringify(meta.client_message_id)}`;
  if (meta.attachments) text += `,"attachments":${JSON.stringify(meta.attachments)}`;
  if (meta.reply_to) text += `,"reply_to":"${meta.reply_to}"`;
  if (meta.expires_at) text += `,"expires_at":"${new Date(meta.expires_at).toISOString()}"`;
  if (meta.signature) text += `,"signature":"${meta.signature}"`;
  return Buffer.from(`${text},"sent_at":"${sentAt}","payload":`);
}
