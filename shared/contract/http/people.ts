/** Bodies and replies about people: accounts, devices, tokens. */
import Type, { type Static, type TSchema } from 'typebox';
import { Device, User } from '../objects.ts';
import { AccountNumber, Id, Time } from '../scalars.ts';
import { DeviceName, Keys, Platform } from './keys.ts';
import { PushTarget } from './push.ts';

const strict = { additionalProperties: false } as const;

export const Password = Type.String({ minLength: 1, maxLength: 1024 });
/** For browsers: the refresh token goes into an HttpOnly cookie, `csrf_token` stands in its place in the reply. */
const Cookie = Type.Boolean();
/** A known `id` is used again. */
const LoginDevice = Type.Object(
  { id: Type.Optional(Id), name: Type.Optional(DeviceName), platform: Type.Optional(Platform) },
  strict,
);
const Phone = Type.String({ minLength: 1, maxLength: 32 });
const Email = Type.String({ minLength: 1, maxLength: 254 });
const Code = Type.String({ pattern: '^[0-9]{6}$' });

export const RegisterBody = Type.Object(
  {
    phone: Type.Optional(Phone),
    email: Type.Optional(Email),
    username: Type.Optional(Type.String({ minLength: 1, maxLength: 64 })),
    password: Password,
    name: Type.Optional(Type.String({ minLength: 1, maxLength: 128 })),
    bio: Type.Optional(Type.String({ maxLength: 1024 })),
    birthdate: Type.Optional(Type.String({ pattern: '^[0-9]{4}-[0-9]{2}-[0-9]{2}$', format: 'date' })),
    device: Type.Object(
      { name: DeviceName, platform: Type.Optional(Platform), push: Type.Optional(PushTarget) },
      strict,
    ),
    keys: Type.Optional(Keys),
    cookie: Type.Optional(Cookie),
  },
  strict,
);
export type RegisterBody = Static<typeof RegisterBody>;

export const LoginBody = Type.Object(
  {
    identifier: Type.String({ minLength: 1, maxLength: 254 }),
    password: Password,
    device: LoginDevice,
    cookie: Type.Optional(Cookie),
  },
  strict,
);
export type LoginBody = Static<typeof LoginBody>;

export const VerifyBody = Type.Object({ user_id: Id, code: Code, cookie: Type.Optional(Cookie) }, strict);
/** Exactly one of phone and email. */
export const OtpRequestBody = Type.Object({ phone: Type.Optional(Phone), email: Type.Optional(Email) }, strict);
export const OtpVerifyBody = Type.Object(
  {
    phone: Type.Optional(Phone),
    email: Type.Optional(Email),
    code: Code,
    device: LoginDevice,
    /** Of the account, where it is made by this call. */
    name: Type.Optional(Type.String({ minLength: 1, maxLength: 128 })),
    cookie: Type.Optional(Cookie),
  },
  strict,
);
export const VerificationSent = Type.Object({ user_id: Id, status: Type.Literal('verification_sent') });
export const CodeSent = Type.Object({ status: Type.Literal('code_sent'), expires_in_sec: Type.Integer() });

/** Without it, the token of the cookie. */
export const RefreshBody = Type.Object(
  { refresh_token: Type.Optional(Type.String({ minLength: 1, maxLength: 512 })) },
  strict,
);

const tokens = { access_token: Type.String(), refresh_token: Type.String(), expires_in_sec: Type.Integer() };
const who = { user: User, device: Device };
/** With `cookie`, the refresh token stands in no reply; typed as what all others get. */
const orCookie = <T>(plain: TSchema, inCookie: TSchema) => Type.Unsafe<T>(Type.Union([plain, inCookie]));
const { refresh_token: _, ...rest } = tokens;
const cookieTokens = { ...rest, csrf_token: Type.String() };
const Pair = Type.Object(tokens);
export type TokenPair = Static<typeof Pair>;
export const TokenPair = orCookie<TokenPair>(Pair, Type.Object(cookieTokens, strict));
const In = Type.Object({ ...who, ...tokens });
export type LoggedIn = Static<typeof In>;
export const LoggedIn = orCookie<LoggedIn>(In, Type.Object({ ...who, ...cookieTokens }, strict));
export const Ticket = Type.Object({ ticket: Type.String(), expires_in_sec: Type.Integer() });
/** The old one is asked where there is one. */
export const PasswordBody = Type.Object({ old_password: Type.Optional(Password), new_password: Password }, strict);
export const DeleteMeBody = Type.Object({ password: Type.Optional(Password) }, strict);
/** How many sessions ended. */
export const Revoked = Type.Object({ revoked: Type.Integer() });
export const Session = Type.Object({
  id: Id,
  current: Type.Boolean(),
  device: Type.Object({ id: Id, name: Type.String(), platform: Type.String() }),
  /** Address of its last log-in or refresh. */
  ip: Type.Union([Type.String(), Type.Null()]),
  created_at: Time,
  last_seen: Type.Union([Time, Type.Null()]),
});
export type Session = Static<typeof Session>;
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
