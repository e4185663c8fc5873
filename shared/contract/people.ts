/** Bodies and replies about people: accounts, devices, tokens. */
import Type, { type Static } from 'typebox';
import { PushTarget } from './push.ts';
import { AccountNumber, Device, Id, Time, User } from './scalars.ts';

const strict = { additionalProperties: false } as const;

export const Password = Type.String({ minLength: 1, maxLength: 1024 });
/** Public, for others to seal to; opaque to the server. */
export const IdentityKey = Type.String({ minLength: 1, maxLength: 4096, pattern: '^[!-~]+$' });
export const RegistrationId = Type.Integer({ minimum: 0, maximum: 0x7fffffff });
const DeviceName = Type.String({ minLength: 1, maxLength: 128 });
const Platform = Type.String({ minLength: 1, maxLength: 32 });
const Keys = Type.Object({ identity_key: IdentityKey, registration_id: Type.Optional(RegistrationId) }, strict);

export const RegisterBody = Type.Object(
  {
    phone: Type.Optional(Type.String({ minLength: 1, maxLength: 32 })),
    email: Type.Optional(Type.String({ minLength: 1, maxLength: 254 })),
    username: Type.Optional(Type.String({ minLength: 1, maxLength: 64 })),
    password: Password,
    name: Type.Optional(Type.String({ minLength: 1, maxLength: 128 })),
    bio: Type.Optional(Type.String({ maxLength: 1024 })),
    birthdate: Type.Optional(Type.String({ pattern: '^[0-9]{4}-[0-9]{2}-[0-9]{2}$' })),
    device: Type.Object(
      { name: DeviceName, platform: Type.Optional(Platform), push: Type.Optional(PushTarget) },
      strict,
    ),
    keys: Type.Optional(Keys),
  },
  strict,
);
export type RegisterBody = Static<typeof RegisterBody>;

export const LoginBody = Type.Object(
  {
    identifier: Type.String({ minLength: 1, maxLength: 254 }),
    password: Password,
    device: Type.Object(
      { id: Type.Optional(Id), name: Type.Optional(DeviceName), platform: Type.Optional(Platform) },
      strict,
    ),
  },
  strict,
);
export type LoginBody = Static<typeof LoginBody>;

export const RefreshBody = Type.Object({ refresh_token: Type.String({ minLength: 1, maxLength: 512 }) }, strict);
export const PutKeysBody = Keys;
export type PutKeysBody = Static<typeof PutKeysBody>;

const tokens = { access_token: Type.String(), refresh_token: Type.String(), expires_in_sec: Type.Integer() };
export const TokenPair = Type.Object(tokens);
export type TokenPair = Static<typeof TokenPair>;
export const LoggedIn = Type.Object({ user: User, device: Device, ...tokens });
export type LoggedIn = Static<typeof LoggedIn>;
export const Ticket = Type.Object({ ticket: Type.String(), expires_in_sec: Type.Integer() });
export const Pong = Type.Object({ server_version: Type.String(), server_time: Time });

/** Exactly one of them. */
export const DirectBody = Type.Object(
  {
    user_id: Type.Optional(Id),
    number: Type.Optional(AccountNumber),
    phone: Type.Optional(Type.String({ minLength: 1, maxLength: 32 })),
    email: Type.Optional(Type.String({ minLength: 1, maxLength: 254 })),
  },
  strict,
);
export type DirectBody = Static<typeof DirectBody>;
