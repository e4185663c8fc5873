/** Payments: what a payments service tells us, how far a request has come, what devices and operators see of it. */
import Type, { type Static } from 'typebox';
import { Cursor, Id, Seq, Time } from './scalars.ts';

/** The events that are taken, each with the state that it moves a request to. */
export const PAYMENT_EVENTS = {
  'requests.create': 'pending',
  'requests.expire': 'expired',
  'requests.cancel': 'canceled',
  'requests.decline': 'declined',
  'requests.accept': 'accepted',
} as const;
export type PaymentEventType = keyof typeof PAYMENT_EVENTS;
export const isPaymentEvent = (type: string): type is PaymentEventType => Object.hasOwn(PAYMENT_EVENTS, type);

/**
 * In this order a request goes forward and never back, so that the end is the same whatever order its events arrive in.
 * `accepted` is the last one: there money has moved.
 */
const FORWARD = ['pending', 'expired', 'canceled', 'declined', 'accepted'] as const;
export const PaymentState = Type.Enum(FORWARD);
export type PaymentState = (typeof FORWARD)[number];
/** 1 to 5. */
export const rankOf = (state: PaymentState): number => FORWARD.indexOf(state) + 1;

/** The payments service's own id, whatever it looks like. */
export const ExternalId = Type.String({ minLength: 1, maxLength: 128, pattern: '^[!-~]+$' });

/** Its fields beyond these are none of our business. */
export const PaymentWebhook = Type.Object({
  type: Type.String(),
  /** Of this event; where the sender gives none, type and body stand for it. */
  id: Type.Optional(ExternalId),
  data: Type.Object({
    id: ExternalId,
    transfer_id: Type.Optional(ExternalId),
    /** A conversation that the request shall stand in. */
    conversation_id: Type.Optional(Id),
  }),
});
export type PaymentWebhook = Static<typeof PaymentWebhook>;
export const PaymentReceived = Type.Object({ received: Type.Literal(true), duplicate: Type.Boolean() });

/** A payment request in a conversation. `seq`: the message that it, or its last change, stands after. */
export const Payment = Type.Object({
  request_id: ExternalId,
  conversation_id: Id,
  state: PaymentState,
  transfer_id: Type.Optional(ExternalId),
  seq: Seq,
  updated_at: Time,
});
export type Payment = Static<typeof Payment>;

/** A durable item: a request was put into a conversation, or has changed its state. */
export const PaymentUpdated = Type.Object({ type: Type.Literal('payment.updated'), cursor: Cursor, payment: Payment });

/** For operators: what was received. `applied_at` is null while it is on its way to devices. */
export const PaymentEvent = Type.Object({
  id: Id,
  event_id: Type.Union([Type.String(), Type.Null()]),
  type: Type.String(),
  request_id: ExternalId,
  transfer_id: Type.Optional(ExternalId),
  state: PaymentState,
  conversation_ids: Type.Array(Id),
  received_at: Time,
  applied_at: Type.Union([Time, Type.Null()]),
});
export type PaymentEvent = Static<typeof PaymentEvent>;
