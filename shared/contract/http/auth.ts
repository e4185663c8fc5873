/** Registration, log-in, tokens: bodies, replies and routes. */
import Type, { type Static, type TSchema } from 'typebox';
import { Device, User } from '../objects.ts';
import { Id } from '../scalars.ts';
import { DeviceName, Platform } from './devices.ts';
import { Keys } from './keys.ts';
import { PushTarget } from './push.ts';
import { type Route, strict } from './route.ts';
import { Revoked } from './sessions.ts';

export const Password = Type.String({ minLength: 1, maxLength: 1024 });
/** Asked for by browsers: the refresh token goes into an HttpOnly cookie, and the reply has `csrf_token` in its place. */
const Cookie = Type.Boolean();
/** With the `id` of a device of that person, that device logs in again; without it, a device is added. */
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
    /** Name of the person, if this call makes the account. */
    name: Type.Optional(Type.String({ minLength: 1, maxLength: 128 })),
    cookie: Type.Optional(Cookie),
  },
  strict,
);
export const VerificationSent = Type.Object({ user_id: Id, status: Type.Literal('verification_sent') });
export const CodeSent = Type.Object({ status: Type.Literal('code_sent'), expires_in_sec: Type.Integer() });

/** Without `refresh_token`, the one of the cookie is used. */
export const RefreshBody = Type.Object(
  { refresh_token: Type.Optional(Type.String({ minLength: 1, maxLength: 512 })) },
  strict,
);

const tokens = { access_token: Type.String(), refresh_token: Type.String(), expires_in_sec: Type.Integer() };
const who = { user: User, device: Device };
/** A reply that a browser may get with cookies instead. Its type is that of the plain reply, which all other clients get. */
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
/** `old_password` is required when the account has a password. */
export const PasswordBody = Type.Object({ old_password: Type.Optional(Password), new_password: Password }, strict);

export const AUTH_ROUTES = {
  'auth.register': {
    method: 'POST',
    path: '/v1/auth/register',
    about: 'Creates an account with its first device, and its keys if given.',
    auth: 'none',
    guarded: true,
    body: RegisterBody,
    reply: { 201: LoggedIn, 202: VerificationSent },
  },
  'auth.verify': {
    method: 'POST',
    path: '/v1/auth/verify',
    about: 'Completes a registration with the code that was sent.',
    auth: 'none',
    guarded: true,
    body: VerifyBody,
    reply: { 201: LoggedIn },
  },
  'auth.login': {
    method: 'POST',
    path: '/v1/auth/login',
    about: 'Logs in by phone, email, username or number. A known device.id is used again.',
    auth: 'none',
    guarded: true,
    body: LoginBody,
    reply: { 200: LoggedIn },
  },
  'auth.otp.request': {
    method: 'POST',
    path: '/v1/auth/otp/request',
    about: 'Sends a code for logging in to a phone or email.',
    auth: 'none',
    guarded: true,
    body: OtpRequestBody,
    reply: { 202: CodeSent },
  },
  'auth.otp.verify': {
    method: 'POST',
    path: '/v1/auth/otp/verify',
    about: 'Logs in by that code; 201 when this call created the account.',
    auth: 'none',
    guarded: true,
    body: OtpVerifyBody,
    reply: { 200: LoggedIn, 201: LoggedIn },
  },
  'auth.changePassword': {
    method: 'POST',
    path: '/v1/auth/password',
    about: 'Changes my password and ends all my other sessions.',
    auth: 'device',
    guarded: true,
    body: PasswordBody,
    reply: { 200: Revoked },
  },
  'auth.refresh': {
    method: 'POST',
    path: '/v1/auth/refresh',
    about: 'Returns a new pair of tokens and uses up the old refresh token.',
    auth: 'none',
    guarded: true,
    body: RefreshBody,
    reply: { 200: TokenPair },
  },
  'auth.jwks': {
    method: 'GET',
    path: '/.well-known/jwks.json',
    about: 'Returns the keys that verify access tokens (RFC 7517).',
    auth: 'none',
    bare: true,
    reply: { 200: Type.Object({ keys: Type.Array(Type.Record(Type.String(), Type.Unknown())) }) },
  },
  'auth.publicKey': {
    method: 'GET',
    path: '/v1/public_key',
    about: 'Returns the key that signs access tokens now, as PEM.',
    auth: 'none',
    reply: { 200: Type.Object({ public_key: Type.String() }) },
  },
  'auth.tickets.create': {
    method: 'POST',
    path: '/v1/ws/tickets',
    about: 'Issues a ticket with which a browser opens one socket.',
    auth: 'device',
    reply: { 201: Ticket },
  },
} as const satisfies Record<string, Route>;
