/** Bodies and replies about webhooks and service tokens. */
import Type, { type Static } from 'typebox';
import { EVENT_NAMES } from '../events.ts';
import { Id, Time } from '../scalars.ts';
import { SCOPES, strict } from './route.ts';

export const EventTypeName = Type.Enum(EVENT_NAMES);
const nullable = <T extends Parameters<typeof Type.Optional>[0]>(schema: T) => Type.Union([schema, Type.Null()]);

/** `whsec_` and 24 to 64 bytes in base64 (Standard Webhooks). */
export const WebhookSecret = Type.String({ pattern: '^whsec_[A-Za-z0-9+/]{32,86}={0,2}$' });

const settings = {
  description: Type.Optional(Type.String({ maxLength: 256 })),
  /** Only these; absent or null: all of them. */
  event_types: Type.Optional(nullable(Type.Array(EventTypeName, { minItems: 1, maxItems: 64 }))),
  /** Only what happens in this conversation. */
  conversation_id: Type.Optional(nullable(Id)),
  /** Sent with every delivery; their values are never shown again. */
  headers: Type.Optional(
    nullable(Type.Record(Type.String({ minLength: 1, maxLength: 64 }), Type.String({ maxLength: 1024 }))),
  ),
  /** One delivery at a time in each conversation, in its order. */
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
/** The secret is shown by the call that made it, and never again. */
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
  /** Absent when it is due at once, or waits for another one of its conversation. */
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
  /** The first KiB of the reply. */
  response: Type.Optional(Type.String()),
});
export type Attempt = Static<typeof Attempt>;
export const Stats = Type.Object({
  pending: Type.Integer(),
  dead: Type.Integer(),
  /** Of the last 24 hours. */
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

export const NewToken = Type.Object(
  {
    name: Type.String({ minLength: 1, maxLength: 64 }),
    scopes: Type.Array(Type.Enum([...SCOPES]), { minItems: 1, maxItems: 16 }),
    expires_in_days: Type.Optional(Type.Integer({ minimum: 1, maximum: 3650 })),
  },
  strict,
);
const token = {
  id: Id,
  name: Type.String(),
  scopes: Type.Array(Type.String()),
  created_at: Time,
  expires_at: Type.Optional(Time),
};
export const ServiceToken = Type.Object(token);
export type ServiceToken = Static<typeof ServiceToken>;
export const ShownToken = Type.Object({ ...token, token: Type.String() });
