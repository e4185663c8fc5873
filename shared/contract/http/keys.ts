/** Keys of devices: bodies, replies and routes. Keys are public; the server hands them on unchanged and never interprets them. */
import Type, { type Static } from 'typebox';
import { Device } from '../objects.ts';
import { Id, Time } from '../scalars.ts';
import { listOf, page, type Route, strict } from './route.ts';

/** Public, for others to seal to; opaque to the server. */
export const IdentityKey = Type.String({ minLength: 1, maxLength: 4096, pattern: '^[!-~]+$' });
/** Changes when the device's key material was made anew: envelopes that name an earlier one are `device_stale`. */
export const RegistrationId = Type.Integer({ minimum: 0, maximum: 0x7fffffff });
/** Ed25519, 32 bytes as base64; verifies the device's `signature` of messages. */
export const SigningKey = Type.String({ pattern: '^[A-Za-z0-9+/]{43}=$' });
export const Keys = Type.Object(
  {
    identity_key: IdentityKey,
    registration_id: Type.Optional(RegistrationId),
    signing_key: Type.Optional(SigningKey),
  },
  strict,
);
export type Keys = Static<typeof Keys>;

/** Chosen by the device, unique among its keys of a kind for as long as it lives. */
const KeyId = Type.String({ minLength: 1, maxLength: 64, pattern: '^[!-~]+$' });
/** What the blob is, e.g. `x25519`, `ml-kem-1024`, `mls-key-package`; the server compares it and no more. */
const Kind = Type.String({ pattern: '^[a-z0-9][a-z0-9._-]{0,31}$' });
export const DEFAULT_KIND = 'x25519';
const Blob = Type.String({ minLength: 1, maxLength: 65_536, pattern: '^[!-~]+$' });
const Signature = Type.String({ minLength: 1, maxLength: 8_192, pattern: '^[!-~]+$' });
const prekey = { key_id: KeyId, public_key: Blob };

export const SignedPrekey = Type.Object({ ...prekey, signature: Signature }, strict);
export const Prekey = Type.Object(
  { ...prekey, kind: Type.Optional(Kind), signature: Type.Optional(Signature) },
  strict,
);
export type Prekey = Static<typeof Prekey>;
export const PrekeysBody = Type.Object(
  {
    signed: Type.Optional(SignedPrekey),
    one_time: Type.Optional(Type.Array(Prekey, { maxItems: 1_000 })),
    last_resort: Type.Optional(Prekey),
    /** Takes back every key that was not handed out yet, of all kinds, before adding these. */
    replace: Type.Optional(Type.Boolean()),
  },
  { ...strict, minProperties: 1 },
);
export type PrekeysBody = Static<typeof PrekeysBody>;

/** What others can still be given. */
export const KeyStock = Type.Object({
  /** One-time keys of all kinds. */
  count: Type.Integer(),
  kinds: Type.Record(Type.String(), Type.Integer()),
  /** `key_id` of the last-resort key of each kind. */
  last_resort: Type.Record(Type.String(), Type.String()),
  signed: Type.Optional(Type.String()),
});
export type KeyStock = Static<typeof KeyStock>;

export const ClaimBody = Type.Object(
  {
    device_ids: Type.Optional(Type.Array(Id, { minItems: 1, maxItems: 100 })),
    kind: Type.Optional(Kind),
  },
  strict,
);
const given = Type.Object({ ...prekey, kind: Type.String(), signature: Type.Optional(Type.String()) });
export const ClaimedDevice = Type.Object({
  device_id: Id,
  registration_id: Type.Optional(Type.Integer()),
  identity_key: Type.String(),
  signing_key: Type.Optional(Type.String()),
  signed_prekey: Type.Optional(Type.Object({ ...prekey, signature: Type.String() })),
  /** Exactly one caller is ever given it. */
  one_time_prekey: Type.Optional(given),
  /** In place of a one-time key when there is none left; may be given to many. */
  last_resort: Type.Optional(given),
});
export type ClaimedDevice = Static<typeof ClaimedDevice>;
export const Claimed = Type.Object({ devices: Type.Array(ClaimedDevice) });

/** Sealed by the client; `version` makes two devices that write at once notice each other. */
export const BackupBody = Type.Object(
  {
    data: Type.String({ minLength: 1 }),
    /** Replace only this version; 0: only when there is none. */
    if_version: Type.Optional(Type.Integer({ minimum: 0, maximum: Number.MAX_SAFE_INTEGER })),
  },
  strict,
);
export const BackupVersion = Type.Object({ version: Type.Integer(), updated_at: Time });
export const Backup = Type.Object({ data: Type.String(), version: Type.Integer(), updated_at: Time });

/**
 * One link of a person's key log: `hash` = hex SHA-256 of the UTF-8 text `<hash of the link before>\n<entry>`, where before
 * the first stand 64 zeros. `entry` is JSON as text: `{n, at, user_id, action, device_id, identity_key, signing_key,
 * registration_id}`, `action` one of `added`, `changed`, `removed`.
 */
export const KeyLogLink = Type.Object({ n: Type.Integer(), entry: Type.String(), hash: Type.String() });
export type KeyLogLink = Static<typeof KeyLogLink>;

export const KEY_ROUTES = {
  'keys.publish': {
    method: 'PUT',
    path: '/v1/devices/me/keys',
    about: 'Publish or replace the identity key of this device. Another identity key takes back its prekeys.',
    auth: 'device',
    body: Keys,
    reply: { 200: Device },
  },
  'keys.prekeys.add': {
    method: 'POST',
    path: '/v1/keys/prekeys',
    about:
      'Adds one-time keys of this device, replaces its signed and last-resort key. The same call again adds nothing.',
    auth: 'device',
    body: PrekeysBody,
    large: true,
    reply: { 200: KeyStock },
  },
  'keys.prekeys.count': {
    method: 'GET',
    path: '/v1/keys/count',
    about: 'How many keys of this device others can still be given.',
    auth: 'device',
    reply: { 200: KeyStock },
  },
  'keys.prekeys.claim': {
    method: 'POST',
    path: '/v1/users/{id}/keys/claim',
    about: 'A one-time key of each device of a person (but the asking one), the oldest first, each given out once.',
    auth: 'device',
    body: ClaimBody,
    reply: { 200: Claimed },
  },
  'keys.log.list': {
    method: 'GET',
    path: '/v1/users/{id}/key_log',
    about: 'Every change of a person’s devices and their keys, oldest first, hash-chained.',
    auth: 'device',
    query: Type.Object({ ...page, after: Type.Optional(Type.Integer({ minimum: 0, maximum: 1e9 })) }, strict),
    reply: { 200: listOf(KeyLogLink) },
  },
  'keys.backup.put': {
    method: 'PUT',
    path: '/v1/keys/backup',
    about: 'Stores or replaces my encrypted backup.',
    auth: 'device',
    body: BackupBody,
    large: true,
    reply: { 200: BackupVersion },
  },
  'keys.backup.get': {
    method: 'GET',
    path: '/v1/keys/backup',
    about: 'My encrypted backup.',
    auth: 'device',
    reply: { 200: Backup },
  },
  'keys.backup.delete': {
    method: 'DELETE',
    path: '/v1/keys/backup',
    about: 'Removes my encrypted backup.',
    auth: 'device',
    reply: { 200: Type.Object({ version: Type.Integer() }) },
  },
} as const satisfies Record<string, Route>;
