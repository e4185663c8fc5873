/** Payments over HTTP: the routes of ../payments.ts. */
import Type from 'typebox';
import { ExternalId, Payment, PaymentEvent, PaymentReceived } from '../payments.ts';
import { listOf, page, type Route, strict } from './route.ts';

export const PAYMENT_ROUTES = {
  'payments.receive': {
    method: 'POST',
    path: '/payments/webhooks',
    about: 'Receives an event of the payments service, signed by X-Webhook-Sign; 202 once it is durable.',
    auth: 'none',
    raw: true,
    reply: { 202: PaymentReceived },
  },
  'payments.attach': {
    method: 'POST',
    path: '/v1/conversations/{id}/payments',
    about: 'Adds a payment request to a conversation of mine; 201 when it was not there yet.',
    auth: 'device',
    body: Type.Object({ request_id: ExternalId }, strict),
    reply: { 200: Payment, 201: Payment },
  },
  'payments.list': {
    method: 'GET',
    path: '/v1/conversations/{id}/payments',
    about: 'Lists the payment requests in a conversation of mine, by request_id.',
    auth: 'device',
    query: Type.Object(page, strict),
    reply: { 200: listOf(Payment) },
  },
  'payments.events.list': {
    method: 'GET',
    path: '/v1/admin/payments/events',
    about: 'Lists payment events as received, the newest first.',
    auth: 'service',
    scope: 'payments',
    query: Type.Object(
      { ...page, request_id: Type.Optional(ExternalId), applied: Type.Optional(Type.Literal('false')) },
      strict,
    ),
    reply: { 200: listOf(PaymentEvent) },
  },
  'payments.events.replay': {
    method: 'POST',
    path: '/v1/admin/payments/events/{id}/replay',
    about: 'Sends the current state of the request of this event to the devices again. Webhooks have their own resend.',
    auth: 'service',
    scope: 'payments',
    reply: { 202: PaymentEvent },
  },
} as const satisfies Record<string, Route>;
