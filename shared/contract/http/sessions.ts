/** Sessions as their owner sees and ends them: replies and routes. */
import Type, { type Static } from 'typebox';
import { Id, Time } from '../scalars.ts';
import { listOf, page, type Route, strict } from './route.ts';

/** `revoked`: how many sessions ended. */
export const Revoked = Type.Object({ revoked: Type.Integer() });
export const Session = Type.Object({
  id: Id,
  current: Type.Boolean(),
  device: Type.Object({ id: Id, name: Type.String(), platform: Type.String() }),
  /** Address from which the session last logged in or refreshed. */
  ip: Type.Union([Type.String(), Type.Null()]),
  created_at: Time,
  last_seen: Type.Union([Time, Type.Null()]),
});
export type Session = Static<typeof Session>;

export const SESSION_ROUTES = {
  'sessions.logout': {
    method: 'POST',
    path: '/v1/auth/logout',
    about: 'Ends this session: its tokens are refused and its socket is closed.',
    auth: 'device',
    reply: { 200: Revoked },
  },
  'sessions.logoutAll': {
    method: 'POST',
    path: '/v1/auth/logout_all',
    about: 'Ends all my sessions, including this one.',
    auth: 'device',
    reply: { 200: Revoked },
  },
  'sessions.list': {
    method: 'GET',
    path: '/v1/sessions',
    about: 'Lists my sessions, the newest first.',
    auth: 'device',
    query: Type.Object(page, strict),
    reply: { 200: listOf(Session) },
  },
  'sessions.end': {
    method: 'DELETE',
    path: '/v1/sessions/{id}',
    about: 'Ends one of my sessions.',
    auth: 'device',
    reply: { 200: Revoked },
  },
  'sessions.endOthers': {
    method: 'POST',
    path: '/v1/sessions/revoke_all',
    about: 'Ends all my sessions except this one.',
    auth: 'device',
    reply: { 200: Revoked },
  },
} as const satisfies Record<string, Route>;
