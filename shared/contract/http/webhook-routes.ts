/** Routes for integrations: webhook endpoints, their deliveries, service tokens. */
import Type from 'typebox';
import { Id, Time } from '../scalars.ts';
import { listOf, page, type Route, strict } from './route.ts';
import {
  Attempt,
  ChangeEndpoint,
  CreateEndpoint,
  Delivery,
  DeliveryStatus,
  Endpoint,
  EventTypeName,
  NewEndpoint,
  NewToken,
  Rotated,
  ServiceToken,
  ShownToken,
  Stats,
  WebhookSecret,
} from './webhooks.ts';

const service = { auth: 'service', scope: 'webhooks' } as const;
const admin = { auth: 'service', scope: 'admin' } as const;
const ENDPOINT = '/v1/webhooks/endpoints/{id}';

export const WEBHOOK_ROUTES = {
  eventTypes: {
    method: 'GET',
    path: '/v1/webhooks/event_types',
    about: 'Every type of event: what it says, the JSON Schema of its data, an example.',
    ...service,
    reply: {
      200: listOf(
        Type.Object({ type: Type.String(), about: Type.String(), schema: Type.Unknown(), example: Type.Unknown() }),
      ),
    },
  },
  createEndpoint: {
    method: 'POST',
    path: '/v1/webhooks/endpoints',
    about:
      'A new endpoint; its secret is in this reply only. With an Idempotency-Key a repeated call gives the same one.',
    ...service,
    body: CreateEndpoint,
    large: true,
    reply: { 200: NewEndpoint, 201: NewEndpoint },
  },
  endpoints: {
    method: 'GET',
    path: '/v1/webhooks/endpoints',
    about: 'All endpoints.',
    ...service,
    query: Type.Object(page, strict),
    reply: { 200: listOf(Endpoint) },
  },
  endpoint: { method: 'GET', path: ENDPOINT, about: 'One endpoint.', ...service, reply: { 200: Endpoint } },
  changeEndpoint: {
    method: 'PATCH',
    path: ENDPOINT,
    about: 'Change, disable or enable; null clears. What waits goes on once it is enabled again.',
    ...service,
    body: ChangeEndpoint,
    large: true,
    reply: { 200: Endpoint },
  },
  deleteEndpoint: {
    method: 'DELETE',
    path: ENDPOINT,
    about: 'Gone, with its deliveries.',
    ...service,
    reply: { 200: Type.Object({ id: Id }) },
  },
  rotateSecret: {
    method: 'POST',
    path: `${ENDPOINT}/rotate`,
    about: 'A new secret and key pair; the old ones sign as well for WEBHOOK_SECRET_OVERLAP_HOURS.',
    ...service,
    body: Type.Object({ secret: Type.Optional(WebhookSecret) }, strict),
    reply: { 200: Rotated },
  },
  deliveries: {
    method: 'GET',
    path: `${ENDPOINT}/deliveries`,
    about: 'Deliveries, the newest first; status=dead are the dead letters.',
    ...service,
    query: Type.Object({ ...page, status: Type.Optional(DeliveryStatus) }, strict),
    reply: { 200: listOf(Delivery) },
  },
  attempts: {
    method: 'GET',
    path: `${ENDPOINT}/attempts`,
    about: 'The log of attempts, the newest first; of one event with event_id.',
    ...service,
    query: Type.Object({ ...page, event_id: Type.Optional(Id) }, strict),
    reply: { 200: listOf(Attempt) },
  },
  resend: {
    method: 'POST',
    path: `${ENDPOINT}/resend`,
    about: 'Deliver one event again, at once, whatever became of it.',
    ...service,
    body: Type.Object({ event_id: Id }, strict),
    reply: { 202: Type.Object({ event_id: Id }) },
  },
  redrive: {
    method: 'POST',
    path: `${ENDPOINT}/redrive`,
    about: 'Dead letters are tried again from the start of the schedule.',
    ...service,
    body: Type.Object({ since: Type.Optional(Time) }, strict),
    reply: { 202: Type.Object({ redriven: Type.Integer() }) },
  },
  recover: {
    method: 'POST',
    path: `${ENDPOINT}/recover`,
    about:
      'Deliver what the endpoint should have had since then and has not: dead letters, and what it missed while disabled.',
    ...service,
    body: Type.Object({ since: Time, until: Type.Optional(Time) }, strict),
    reply: { 202: Type.Object({ recovery_id: Id }) },
  },
  testEndpoint: {
    method: 'POST',
    path: `${ENDPOINT}/test`,
    about: 'Deliver an example event, webhook.test unless named, to this endpoint.',
    ...service,
    body: Type.Object({ event_type: Type.Optional(EventTypeName) }, strict),
    reply: { 202: Type.Object({ event_id: Id }) },
  },
  stats: { method: 'GET', path: `${ENDPOINT}/stats`, about: 'How it goes.', ...service, reply: { 200: Stats } },
  createToken: {
    method: 'POST',
    path: '/v1/admin/tokens',
    about: 'A service token, shown in this reply only.',
    ...admin,
    body: NewToken,
    reply: { 201: ShownToken },
  },
  tokens: {
    method: 'GET',
    path: '/v1/admin/tokens',
    about: 'Service tokens.',
    ...admin,
    query: Type.Object(page, strict),
    reply: { 200: listOf(ServiceToken) },
  },
  deleteToken: {
    method: 'DELETE',
    path: '/v1/admin/tokens/{id}',
    about: 'The token is refused from now on.',
    ...admin,
    reply: { 200: Type.Object({ id: Id }) },
  },
} as const satisfies Record<string, Route>;
