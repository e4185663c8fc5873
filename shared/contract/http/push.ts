/** Push targets of devices: bodies, replies and routes. A target contains secrets of its provider; no reply ever shows it. */
import Type, { type Static } from 'typebox';
import { Id, Time } from '../scalars.ts';
import { type Route, strict } from './route.ts';

const Endpoint = Type.String({ minLength: 1, maxLength: 2048, pattern: '^https?://[!-~]+$' });
/** Base64url without padding, as browsers give them (RFC 8291). */
const WebPushKeys = Type.Object(
  {
    p256dh: Type.String({ pattern: '^[A-Za-z0-9_-]{87}=?$' }),
    auth: Type.String({ pattern: '^[A-Za-z0-9_-]{22}(==)?$' }),
  },
  strict,
);
const Token = Type.String({ minLength: 1, maxLength: 4096, pattern: '^[!-~]+$' });

export const WebPushTarget = Type.Object(
  { provider: Type.Literal('webpush'), endpoint: Endpoint, keys: WebPushKeys },
  strict,
);
/** With keys, the wake-up is encrypted as Web Push; without, the distributor gets it in the clear. */
export const UnifiedPushTarget = Type.Object(
  { provider: Type.Literal('unifiedpush'), endpoint: Endpoint, keys: Type.Optional(WebPushKeys) },
  strict,
);
export const FcmTarget = Type.Object({ provider: Type.Literal('fcm'), token: Token }, strict);
export const ApnsTarget = Type.Object(
  {
    provider: Type.Literal('apns'),
    token: Type.String({ pattern: '^[0-9A-Fa-f]{8,200}$' }),
    /** Default: APNS_TOPIC. */
    topic: Type.Optional(Type.String({ minLength: 1, maxLength: 255, pattern: '^[A-Za-z0-9.-]+$' })),
  },
  strict,
);

export const PushTarget = Type.Union([WebPushTarget, UnifiedPushTarget, FcmTarget, ApnsTarget]);
export type PushTarget = Static<typeof PushTarget>;
export const PROVIDERS = ['webpush', 'unifiedpush', 'fcm', 'apns'] as const;
export type Provider = (typeof PROVIDERS)[number];

/** The fields of all providers, so that a refusal names the field. The API then checks the target of the one provider. */
export const PutPushBody = Type.Object(
  {
    provider: Type.Enum(['none', ...PROVIDERS]),
    endpoint: Type.Optional(Endpoint),
    keys: Type.Optional(WebPushKeys),
    token: Type.Optional(Token),
    topic: Type.Optional(Type.String({ minLength: 1, maxLength: 255, pattern: '^[A-Za-z0-9.-]+$' })),
    /** Until this time the device is not woken. */
    muted_until: Type.Optional(Type.Union([Type.String({ pattern: '^\\d{4}-\\d\\d-\\d\\dT[0-9:.]+Z$' }), Type.Null()])),
  },
  strict,
);
export type PutPushBody = Static<typeof PutPushBody>;
export const Push = Type.Object({
  device_id: Id,
  provider: Type.Enum(['none', ...PROVIDERS]),
  muted_until: Type.Union([Time, Type.Null()]),
});

export const PUSH_ROUTES = {
  'push.targets.put': {
    method: 'PUT',
    path: '/v1/devices/{id}/push',
    about: 'Sets where a device of mine is woken while it is away; provider none: nowhere.',
    auth: 'device',
    body: PutPushBody,
    reply: { 200: Push },
  },
  'push.targets.get': {
    method: 'GET',
    path: '/v1/devices/{id}/push',
    about: 'Returns which provider wakes a device of mine, and until when it is muted.',
    auth: 'device',
    reply: { 200: Push },
  },
  'push.key.get': {
    method: 'GET',
    path: '/v1/push/key',
    about: 'Returns the application server key with which browsers and distributors subscribe (VAPID, RFC 8292).',
    auth: 'device',
    reply: { 200: Type.Object({ public_key: Type.String() }) },
  },
} as const satisfies Record<string, Route>;
