/** Keys of devices: bodies, replies and routes. Keys are public; the server hands them on unchanged and never interprets them. */
import Type, { type Static } from 'typebox';
import { Device } from '../objects.ts';
import { Id, Time } from '../scalars.ts';
import { listOf, page, type Route, strict } from './route.ts';

/** The public key that others seal for. Opaque to the server. */
export const IdentityKey = Type.String({ minLength: 1, maxLength: 4096, pattern: '^[!-~]+$' });
/** Changes when the device makes new key material: envelopes that name an earlier id are refused with `device_stale`. */
export const RegistrationId = Type.Integer({ minimum: 0, maximum: 0x7fffffff });
/** Ed25519 public key, 32 bytes as base64. It verifies the `signature` of the device's messages. */
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

/** Chosen by the device and never used twice for keys of a kind. */
const KeyId = Type.String({ minLength: 1, maxLength: 64, pattern: '^[!-~]+$' });
/** The kind of key, e.g. `x25519`, `ml-kem-1024`, `mls-key-package`. The server only compares it. */
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
    /** Withdraws every key, of all kinds, that was not handed out yet, before these are added. */
    replace: Type.Optional(Type.Boolean()),
  },
  { ...strict, minProperties: 1 },
);
export type PrekeysBody = Static<typeof PrekeysBody>;

/** The keys of a device that can still be handed out. */
export const KeyStock = Type.Object({
  /** Number of one-time keys of all kinds. */
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
  /** Handed out to exactly one caller. */
  one_time_prekey: Type.Optional(given),
  /** Handed out, perhaps to many callers, while there is no one-time key left. */
  last_resort: Type.Optional(given),
});
export type ClaimedDevice = Static<typeof ClaimedDevice>;
export const Claimed = Type.Object({ devices: Type.Array(ClaimedDevice) });

/** Sealed by the client. By `version` two devices that write at the same time notice each other. */
export const BackupBody = Type.Object(
  {
    data: Type.String({ minLength: 1 }),
    /** The backup is replaced only if it has this version; 0: only if there is none. */
    if_version: Type.Optional(Type.Integer({ minimum: 0, maximum: Number.MAX_SAFE_INTEGER })),
  },
  strict,
);
export const BackupVersion = Type.Object({ version: Type.Integer(), updated_at: Time });
export const Backup = Type.Object({ data: Type.String(), version: Type.Integer(), updated_at: Time });

/**
 * One link of a person's key log. `hash` is the hex SHA-256 of the UTF-8 text `<hash of the link before>\n<entry>`; for the
 * first link, 64 zeros take the place of the hash before. `entry` is JSON as text: `{n, at, user_id, action, device_id, identity_key, signing_key,
 * registration_id}`, `action` one of `added`, `changed`, `removed`.
 */
export const KeyLogLink = Type.Object({ n: Type.Integer(), entry: Type.String(), hash: Type.String() });
export type KeyLogLink = Static<typeof KeyLogLink>;

export const KEY_ROUTES = {
  'keys.publish': {
    method: 'PUT',
    path: '/v1/devices/me/keys',
    about: 'Publishes or replaces the identity key of this device. Another identity key withdraws its prekeys.',
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
    about: 'Counts the keys of this device that can still be handed out.',
    auth: 'device',
    reply: { 200: KeyStock },
  },
  'keys.prekeys.claim': {
    method: 'POST',
    path: '/v1/users/{id}/keys/claim',
    about:
      'Claims a one-time key of each device of a person except the asking one, the oldest first; each is handed out once.',
    auth: 'device',
    body: ClaimBody,
    reply: { 200: Claimed },
  },
  'keys.log.list': {
    method: 'GET',
    path: '/v1/users/{id}/key_log',
    about: 'Lists every change of a person’s devices and their keys, the oldest first, hash-chained.',
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
    about: 'Returns my encrypted backup.',
    auth: 'device',
    reply: { 200: Backup },
  },
  'keys.backup.delete': {
    method: 'DELETE',
    path: '/v1/keys/backup',
    about: 'Deletes my encrypted backup.',
    auth: 'device',
    reply: { 200: Type.Object({ version: Type.Integer() }) },
  },
} as const satisfies Record<string, Route>;
