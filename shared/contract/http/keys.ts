/** Devices and their keys: bodies and replies. Keys are public and opaque to the server, which hands them on as they came. */
import Type, { type Static } from 'typebox';
import { Device } from '../objects.ts';
import { Id, Time } from '../scalars.ts';
import { strict } from './route.ts';

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

export const DeviceName = Type.String({ minLength: 1, maxLength: 128 });
export const Platform = Type.String({ minLength: 1, maxLength: 32 });
export const PatchDeviceBody = Type.Object(
  {
    name: Type.Optional(DeviceName),
    platform: Type.Optional(Platform),
  },
  { ...strict, minProperties: 1 },
);
export type PatchDeviceBody = Static<typeof PatchDeviceBody>;
/** A device of mine. */
export const MyDevice = Type.Object({
  ...Device.properties,
  /** It is the one that asks. */
  current: Type.Boolean(),
  push_provider: Type.Optional(Type.String()),
});
export type MyDevice = Static<typeof MyDevice>;

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
