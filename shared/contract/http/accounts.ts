/** The account of the person who asks: bodies and routes. */
import Type from 'typebox';
import { User } from '../objects.ts';
import { Password } from './auth.ts';
import { type Route, strict } from './route.ts';
import { Revoked } from './sessions.ts';

export const DeleteMeBody = Type.Object({ password: Type.Optional(Password) }, strict);

export const ACCOUNT_ROUTES = {
  'accounts.get': {
    method: 'GET',
    path: '/v1/users/me',
    about: 'Returns my account.',
    auth: 'device',
    reply: { 200: User },
  },
  'accounts.delete': {
    method: 'DELETE',
    path: '/v1/users/me',
    about: 'Deletes my account: devices, keys, inbox, names, and the contents of my messages.',
    auth: 'device',
    guarded: true,
    body: DeleteMeBody,
    reply: { 200: Revoked },
  },
} as const satisfies Record<string, Route>;
