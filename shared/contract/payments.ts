/** Payments: the events of a payments service, the states of a request, and how devices and operators see it. */
import Type, { type Static } from 'typebox';
import { Cursor, Id, Seq, Time } from './scalars.ts';

/** The events that are accepted, each with the state to which it moves a request. */
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
 * A request moves forward in this order and never back, so that its final state does not depend on the order in which events
 * arrive. `accepted` is the last state: money has moved.
 */
const FORWARD = ['pending', 'expired', 'canceled', 'declined', 'accepted'] as const;
export const PaymentState = Type.Enum(FORWARD);
export type PaymentState = (typeof FORWARD)[number];
/** The position of a state in that order, 1 to 5. */
export const rankOf = (state: PaymentState): number => FORWARD.indexOf(state) + 1;

/** An id that the payments service has chosen, of any form. */
export const ExternalId = Type.String({ minLength: 1, maxLength: 128, pattern: '^[!-~]+$' });

/** Other fields of the event are ignored. */
export const PaymentWebhook = Type.Object({
  type: Type.String(),
  /** Id of the event. Without it, type and body identify the event. */
  id: Type.Optional(ExternalId),
  data: Type.Object({
    id: ExternalId,
    transfer_id: Type.Optional(ExternalId),
    /** A conversation that the request is to be added to. */
    conversation_id: Type.Optional(Id),
  }),
});
export type PaymentWebhook = Static<typeof PaymentWebhook>;
export const PaymentReceived = Type.Object({ received: Type.Literal(true), duplicate: Type.Boolean() });

/** A payment request in a conversation. `seq`: the last message before the request was added or last changed. */
export const Payment = Type.Object({
  request_id: ExternalId,
  conversation_id: Id,
  state: PaymentState,
  transfer_id: Type.Optional(ExternalId),
  seq: Seq,
  updated_at: Time,
});
export type Payment = Static<typeof Payment>;

/** A durable item: a payment request was added to a conversation, or has changed its state. */
export const PaymentUpdated = Type.Object({ type: Type.Literal('payment.updated'), cursor: Cursor, payment: Payment });

/** A received event as operators see it. `applied_at` is null until the devices are told. */
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
