/** Webhook endpoints and their deliveries: bodies, replies and routes. */
import Type, { type Static } from 'typebox';
import { EVENT_NAMES } from '../events.ts';
import { Id, Time } from '../scalars.ts';
import { listOf, page, type Route, strict } from './route.ts';

export const EventTypeName = Type.Enum(EVENT_NAMES);
const nullable = <T extends Parameters<typeof Type.Optional>[0]>(schema: T) => Type.Union([schema, Type.Null()]);

/** `whsec_` and 24 to 64 bytes in base64 (Standard Webhooks). */
export const WebhookSecret = Type.String({ pattern: '^whsec_[A-Za-z0-9+/]{32,86}={0,2}$' });

const settings = {
  description: Type.Optional(Type.String({ maxLength: 256 })),
  /** Deliver only these types; absent or null: all. */
  event_types: Type.Optional(nullable(Type.Array(EventTypeName, { minItems: 1, maxItems: 64 }))),
  /** Deliver only events of this conversation. */
  conversation_id: Type.Optional(nullable(Id)),
  /** Sent with every delivery. No reply shows their values. */
  headers: Type.Optional(
    nullable(Type.Record(Type.String({ minLength: 1, maxLength: 64 }), Type.String({ maxLength: 1024 }))),
  ),
  /** Deliver the events of a conversation one after another, in their order. */
  ordered: Type.Optional(Type.Boolean()),
  max_per_sec: Type.Optional(nullable(Type.Integer({ minimum: 1, maximum: 10_000 }))),
};
const Url = Type.String({ minLength: 1 });
export const CreateEndpoint = Type.Object({ url: Url, secret: Type.Optional(WebhookSecret), ...settings }, strict);
export type CreateEndpoint = Static<typeof CreateEndpoint>;
export const ChangeEndpoint = Type.Object(
  { url: Type.Optional(Url), enabled: Type.Optional(Type.Boolean()), ...settings },
  strict,
);
export type ChangeEndpoint = Static<typeof ChangeEndpoint>;
/** An element of CHAT_WEBHOOK_ENDPOINTS_JSON. */
export const EnvironmentEndpoint = Type.Object({ url: Url, secret: WebhookSecret, ...settings }, strict);
export type EnvironmentEndpoint = Static<typeof EnvironmentEndpoint>;

const endpoint = {
  id: Id,
  url: Type.String(),
  description: Type.Optional(Type.String()),
  event_types: nullable(Type.Array(Type.String())),
  conversation_id: nullable(Id),
  header_names: Type.Array(Type.String()),
  ordered: Type.Boolean(),
  max_per_sec: nullable(Type.Integer()),
  enabled: Type.Boolean(),
  disabled_reason: Type.Optional(Type.String()),
  failing_since: Type.Optional(Time),
  /** `whpk_…`, verifies `v1a` signatures. */
  public_key: Type.String(),
  source: Type.Union([Type.Literal('api'), Type.Literal('environment')]),
  created_at: Time,
  updated_at: Time,
};
export const Endpoint = Type.Object(endpoint);
export type Endpoint = Static<typeof Endpoint>;
/** Only the reply to the call that made the secret shows it. */
export const NewEndpoint = Type.Object({ ...endpoint, secret: Type.Optional(Type.String()) });
export const Rotated = Type.Object({ secret: Type.String(), public_key: Type.String(), old_until: Time });

export const DeliveryStatus = Type.Union([Type.Literal('pending'), Type.Literal('delivered'), Type.Literal('dead')]);
export const Delivery = Type.Object({
  event_id: Id,
  event_type: Type.String(),
  timestamp: Time,
  conversation_id: Type.Optional(Id),
  status: DeliveryStatus,
  attempts: Type.Integer(),
  /** Absent when the delivery is due at once, or waits for another one of its conversation. */
  next_at: Type.Optional(Time),
  finished_at: Type.Optional(Time),
  last_status: Type.Optional(Type.Integer()),
  last_error: Type.Optional(Type.String()),
});
export type Delivery = Static<typeof Delivery>;
export const Attempt = Type.Object({
  id: Id,
  event_id: Id,
  attempt: Type.Integer(),
  at: Time,
  duration_ms: Type.Integer(),
  outcome: Type.Union([Type.Literal('delivered'), Type.Literal('failed')]),
  status: Type.Optional(Type.Integer()),
  error: Type.Optional(Type.String()),
  /** The first KiB of the endpoint's reply. */
  response: Type.Optional(Type.String()),
});
export type Attempt = Static<typeof Attempt>;
export const Stats = Type.Object({
  pending: Type.Integer(),
  dead: Type.Integer(),
  /** This and the following figures are of the last 24 hours. */
  delivered: Type.Integer(),
  attempts: Type.Integer(),
  failed_attempts: Type.Integer(),
  p50_ms: nullable(Type.Number()),
  p95_ms: nullable(Type.Number()),
  /** Age of the oldest pending delivery. */
  behind_sec: Type.Number(),
  recovering: Type.Boolean(),
});
export type Stats = Static<typeof Stats>;

const service = { auth: 'service', scope: 'webhooks' } as const;
const ENDPOINT = '/v1/webhooks/endpoints/{id}';

export const WEBHOOK_ROUTES = {
  'webhooks.eventTypes.list': {
    method: 'GET',
    path: '/v1/webhooks/event_types',
    about: 'Lists every type of event: its meaning, the JSON Schema of its data, an example.',
    ...service,
    reply: {
      200: listOf(
        Type.Object({ type: Type.String(), about: Type.String(), schema: Type.Unknown(), example: Type.Unknown() }),
      ),
    },
  },
  'webhooks.endpoints.create': {
    method: 'POST',
    path: '/v1/webhooks/endpoints',
    about:
      'Creates an endpoint; only this reply shows its secret. With an Idempotency-Key a repeated call returns the same one.',
    ...service,
    body: CreateEndpoint,
    large: true,
    reply: { 200: NewEndpoint, 201: NewEndpoint },
  },
  'webhooks.endpoints.list': {
    method: 'GET',
    path: '/v1/webhooks/endpoints',
    about: 'Lists all endpoints.',
    ...service,
    query: Type.Object(page, strict),
    reply: { 200: listOf(Endpoint) },
  },
  'webhooks.endpoints.get': {
    method: 'GET',
    path: ENDPOINT,
    about: 'Returns one endpoint.',
    ...service,
    reply: { 200: Endpoint },
  },
  'webhooks.endpoints.update': {
    method: 'PATCH',
    path: ENDPOINT,
    about:
      'Changes, disables or enables an endpoint; null clears a field. Waiting deliveries go on once it is enabled again.',
    ...service,
    body: ChangeEndpoint,
    large: true,
    reply: { 200: Endpoint },
  },
  'webhooks.endpoints.delete': {
    method: 'DELETE',
    path: ENDPOINT,
    about: 'Deletes an endpoint with its deliveries.',
    ...service,
    reply: { 200: Type.Object({ id: Id }) },
  },
  'webhooks.endpoints.rotateSecret': {
    method: 'POST',
    path: `${ENDPOINT}/rotate`,
    about: 'Makes a new secret and key pair; the old ones sign as well for WEBHOOK_SECRET_OVERLAP_HOURS.',
    ...service,
    body: Type.Object({ secret: Type.Optional(WebhookSecret) }, strict),
    reply: { 200: Rotated },
  },
  'webhooks.endpoints.test': {
    method: 'POST',
    path: `${ENDPOINT}/test`,
    about: 'Delivers an example event, webhook.test unless named, to this endpoint.',
    ...service,
    body: Type.Object({ event_type: Type.Optional(EventTypeName) }, strict),
    reply: { 202: Type.Object({ event_id: Id }) },
  },
  'webhooks.endpoints.stats': {
    method: 'GET',
    path: `${ENDPOINT}/stats`,
    about: 'Returns figures about the deliveries to this endpoint.',
    ...service,
    reply: { 200: Stats },
  },
  'webhooks.deliveries.list': {
    method: 'GET',
    path: `${ENDPOINT}/deliveries`,
    about: 'Lists deliveries, the newest first; status=dead lists the dead letters.',
    ...service,
    query: Type.Object({ ...page, status: Type.Optional(DeliveryStatus) }, strict),
    reply: { 200: listOf(Delivery) },
  },
  'webhooks.deliveries.resend': {
    method: 'POST',
    path: `${ENDPOINT}/resend`,
    about: 'Delivers one event again, at once, whether it was delivered or not.',
    ...service,
    body: Type.Object({ event_id: Id }, strict),
    reply: { 202: Type.Object({ event_id: Id }) },
  },
  'webhooks.deliveries.redrive': {
    method: 'POST',
    path: `${ENDPOINT}/redrive`,
    about: 'Tries dead letters again from the start of the schedule.',
    ...service,
    body: Type.Object({ since: Type.Optional(Time) }, strict),
    reply: { 202: Type.Object({ redriven: Type.Integer() }) },
  },
  'webhooks.deliveries.recover': {
    method: 'POST',
    path: `${ENDPOINT}/recover`,
    about:
      'Delivers the events since then that the endpoint did not get: dead letters, and those it missed while disabled.',
    ...service,
    body: Type.Object({ since: Time, until: Type.Optional(Time) }, strict),
    reply: { 202: Type.Object({ recovery_id: Id }) },
  },
  'webhooks.attempts.list': {
    method: 'GET',
    path: `${ENDPOINT}/attempts`,
    about: 'Lists attempts to deliver, the newest first; with event_id those of one event.',
    ...service,
    query: Type.Object({ ...page, event_id: Type.Optional(Id) }, strict),
    reply: { 200: listOf(Attempt) },
  },
} as const satisfies Record<string, Route>;
