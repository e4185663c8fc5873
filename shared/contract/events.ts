/** The events that integrations and workers get: ids and metadata, never ciphertext, names or addresses. */
import Type, { type Static, type TSchema } from 'typebox';
import { ExternalId, PaymentState } from './payments.ts';
import { ConversationType, Id, Role, Seq, Time } from './scalars.ts';

interface EventType {
  /** One sentence for people: what happened. */
  about: string;
  data: TSchema;
  example: Record<string, unknown>;
}

const A = '01936f2a-7c1e-7b3a-9f00-0123456789ab';
const B = '01936f2a-7c1e-7b3a-9f00-0123456789ac';
const C = '01936f2b-0d44-7c52-8a11-5b2f6c0d9e77';
const M = '01936f2c-51aa-7d10-b3c4-66f0a2d8e913';
const D = '01936f2a-8a02-7e9b-a5d6-24c7b1e0f388';
const AT = '2026-01-02T03:04:05.678Z';

export const EVENT_TYPES = {
  'chat.conversation.created': {
    about: 'A conversation was created.',
    data: Type.Object({
      conversation_id: Id,
      conversation_type: ConversationType,
      created_by: Id,
      members_count: Type.Integer(),
    }),
    example: { conversation_id: C, conversation_type: 'group', created_by: A, members_count: 3 },
  },
  'chat.member.added': {
    about: 'A person joined a conversation and reads its messages after joined_seq.',
    data: Type.Object({ conversation_id: Id, user_id: Id, role: Role, joined_seq: Seq }),
    example: { conversation_id: C, user_id: B, role: 'member', joined_seq: 0 },
  },
  'chat.message.created': {
    about: 'A message is durable and has its seq.',
    data: Type.Object({
      message_id: Id,
      conversation_id: Id,
      seq: Seq,
      sender_id: Id,
      sender_device_id: Id,
      sent_at: Time,
      attachments_count: Type.Integer(),
      reply_to: Type.Optional(Id),
      expires_at: Type.Optional(Time),
    }),
    example: {
      message_id: M,
      conversation_id: C,
      seq: 41,
      sender_id: A,
      sender_device_id: D,
      sent_at: AT,
      attachments_count: 1,
    },
  },
  'chat.attachment.added': {
    about: 'A message has an attachment; one event for each attachment.',
    data: Type.Object({
      message_id: Id,
      conversation_id: Id,
      sender_id: Id,
      media_id: Id,
      content_type: Type.Optional(Type.String()),
      size: Type.Optional(Type.Integer()),
    }),
    example: { message_id: M, conversation_id: C, sender_id: A, media_id: B, content_type: 'image/webp', size: 20480 },
  },
  'chat.message.delivered': {
    about:
      'A device has all messages of that sender up to seq; cumulative, at most a few a second per device and conversation. Only in conversations of up to STATUS_MAX_MEMBERS.',
    data: Type.Object({
      message_id: Id,
      conversation_id: Id,
      seq: Seq,
      sender_id: Id,
      user_id: Id,
      device_id: Id,
    }),
    example: { message_id: M, conversation_id: C, seq: 41, sender_id: A, user_id: B, device_id: D },
  },
  'chat.message.read': {
    about: 'A person has read all messages up to seq; cumulative.',
    data: Type.Object({ conversation_id: Id, seq: Seq, user_id: Id, device_id: Id }),
    example: { conversation_id: C, seq: 41, user_id: B, device_id: D },
  },
  'device.added': {
    about: 'A person added a device.',
    data: Type.Object({ user_id: Id, device_id: Id, platform: Type.String() }),
    example: { user_id: A, device_id: D, platform: 'android' },
  },
  'device.keys_changed': {
    about: 'A device published another identity key.',
    data: Type.Object({ user_id: Id, device_id: Id }),
    example: { user_id: A, device_id: D },
  },
  'device.removed': {
    about: 'A device was removed.',
    data: Type.Object({ user_id: Id, device_id: Id }),
    example: { user_id: A, device_id: D },
  },
  'chat.payment.updated': {
    about:
      'A payment request changed its state. One event for each conversation that it was added to, or one without conversation.',
    data: Type.Object({
      request_id: ExternalId,
      state: PaymentState,
      transfer_id: Type.Optional(ExternalId),
      conversation_id: Type.Optional(Id),
    }),
    example: { request_id: 'PR_1', state: 'accepted', transfer_id: 'TR_1', conversation_id: C },
  },
  'webhook.endpoint.disabled': {
    about: 'Deliveries to an endpoint were stopped: it answered 410 Gone, or failed for days without a success.',
    data: Type.Object({
      endpoint_id: Id,
      reason: Type.Union([Type.Literal('gone'), Type.Literal('failing')]),
      failing_since: Time,
    }),
    example: { endpoint_id: A, reason: 'failing', failing_since: AT },
  },
  'webhook.test': {
    about: 'A test, requested by POST /v1/webhooks/endpoints/{id}/test; delivered to that endpoint only.',
    data: Type.Object({ endpoint_id: Id }),
    example: { endpoint_id: A },
  },
} as const satisfies Record<string, EventType>;

export type EventName = keyof typeof EVENT_TYPES;
export const EVENT_NAMES = Object.keys(EVENT_TYPES) as EventName[];
export type EventData<T extends EventName> = Static<(typeof EVENT_TYPES)[T]['data']>;
