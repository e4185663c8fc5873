/** Writes the head of a message: the reader's JSON object up to the payload, see shared/pipeline/entry.ts. */
import type { MessageRecord, RecordedExtras } from '../../shared/pipeline/entry.ts';

export type ExtraWriters = { [K in keyof RecordedExtras]-?: (meta: MessageRecord) => string };

/** Writes each optional field, in this order. Ids and the signature need no escaping; free text does. */
const EXTRAS = {
  attachments: ({ attachments }) => (attachments ? `,"attachments":${JSON.stringify(attachments)}` : ''),
  reply_to: ({ reply_to }) => (reply_to ? `,"reply_to":"${reply_to}"` : ''),
  expires_at: ({ expires_at }) => (expires_at ? `,"expires_at":"${new Date(expires_at).toISOString()}"` : ''),
  signature: ({ signature }) => (signature ? `,"signature":"${signature}"` : ''),
} satisfies ExtraWriters;
const WRITERS = Object.values(EXTRAS);

/** `sentAt`: RFC 3339. The client's own id is the only other field that may need escaping. */
export function messageHead(meta: MessageRecord, sentAt: string): Buffer {
  let text = `"message":{"id":"${meta.id}","conversation_id":"${meta.conversation_id}","seq":${meta.seq},"sender_id":"${meta.user_id}","sender_device_id":"${meta.device_id}","client_message_id":${JSON.stringify(meta.client_message_id)}`;
  for (let i = 0; i < WRITERS.length; i++) text += WRITERS[i]!(meta);
  return Buffer.from(`${text},"sent_at":"${sentAt}","payload":`);
}
