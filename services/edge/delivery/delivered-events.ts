/** Makes the `chat.message.delivered` events that are written together with the cursors of devices. */
import { item } from '../../../nats/inbox/item.ts';
import { derivedId, uuid7Time } from '../../../shared/ids.ts';

const EVENT_TYPE = 'chat.message.delivered';

export interface Delivered {
  user_id: string;
  device_id: string;
  /** Prefix of the newest item that the device has of that sender in that conversation. */
  prefix: Buffer;
}
/** Follows a `with` whose parameters are $1 to $3. */
export const INSERT_DELIVERED_EVENTS = `insert into event_outbox (id, type, conversation_id, data)
  select id, '${EVENT_TYPE}', conversation_id, data
  from unnest($4::uuid[], $5::uuid[], $6::json[]) as e(id, conversation_id, data)`;

/** Makes the values of $4 to $6. The id is derived, so that the same message to the same device is the same event however often it is acknowledged. */
export function deliveredColumns(delivered: Delivered[]): [ids: string[], conversations: string[], data: string[]] {
  const events = delivered.map(({ user_id, device_id, prefix }) => ({
    message_id: item.messageId(prefix),
    conversation_id: item.conversationId(prefix),
    seq: item.seq(prefix),
    sender_id: item.userId(prefix),
    user_id,
    device_id,
  }));
  return [
    events.map(({ message_id, device_id }) =>
      derivedId(uuid7Time(message_id), `${EVENT_TYPE} ${message_id} ${device_id}`),
    ),
    events.map(({ conversation_id }) => conversation_id),
    events.map((event) => JSON.stringify(event)),
  ];
}
