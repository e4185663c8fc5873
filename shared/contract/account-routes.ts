/** Routes about accounts: ways in, tokens, sessions. */
import Type from 'typebox';
import { LoggedIn, LoginBody, RefreshBody, RegisterBody, Revoked, Session, Ticket, TokenPair } from './people.ts';
import { listOf, page, type Route, strict } from './route.ts';

export const ACCOUNT_ROUTES = {
  register: {
    method: 'POST',
    path: '/v1/auth/register',
    about: 'A new account with its first device, and its identity key if given.',
    auth: 'none',
    guarded: true,
    body: RegisterBody,
    reply: { 201: LoggedIn },
  },
  login: {
    method: 'POST',
    path: '/v1/auth/login',
    about: 'Log in by phone, email, username or number. A known device.id is used again.',
    auth: 'none',
    guarded: true,
    body: LoginBody,
    reply: { 200: LoggedIn },
  },
  refresh: {
    method: 'POST',
    path: '/v1/auth/refresh',
    about: 'A new pair of tokens; the old refresh token is used up.',
    auth: 'none',
    guarded: true,
    body: RefreshBody,
    reply: { 200: TokenPair },
  },
  jwks: {
    method: 'GET',
    path: '/.well-known/jwks.json',
    about: 'Keys that verify access tokens (RFC 7517).',
    auth: 'none',
    bare: true,
    reply: { 200: Type.Object({ keys: Type.Array(Type.Record(Type.String(), Type.Unknown())) }) },
  },
  publicKey: {
    method: 'GET',
    path: '/v1/public_key',
    about: 'The key that signs access tokens now, as PEM.',
    auth: 'none',
    reply: { 200: Type.Object({ public_key: Type.String() }) },
  },
  ticket: {
    method: 'POST',
    path: '/v1/ws/tickets',
    about: 'A single-use ticket for opening a socket from a browser.',
    auth: 'device',
    reply: { 201: Ticket },
  },
  logout: {
    method: 'POST',
    path: '/v1/auth/logout',
    about: 'Ends this session: its tokens are refused and its socket is closed.',
    auth: 'device',
    reply: { 200: Revoked },
  },
  logoutAll: {
    method: 'POST',
    path: '/v1/auth/logout_all',
    about: 'Ends all my sessions, this one too.',
    auth: 'device',
    reply: { 200: Revoked },
  },
  sessions: {
    method: 'GET',
    path: '/v1/sessions',
    about: 'My sessions, the newest first.',
    auth: 'device',
    query: Type.Object(page, strict),
    reply: { 200: listOf(Session) },
  },
  endSession: {
    method: 'DELETE',
    path: '/v1/sessions/{id}',
    about: 'Ends one of my sessions.',
    auth: 'device',
    reply: { 200: Revoked },
  },
  endOtherSessions: {
    method: 'POST',
    path: '/v1/sessions/revoke_all',
    about: 'Ends all my sessions but this one.',
    auth: 'device',
    reply: { 200: Revoked },
  },
} as const satisfies Record<string, Route>;
