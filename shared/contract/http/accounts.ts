/** The account of the person who asks: bodies and routes. */
import Type from 'typebox';
import { User } from '../objects.ts';
import { type Route, strict } from './route.ts';
import { Revoked } from './sessions.ts';

export const Password = Type.String({ minLength: 1, maxLength: 1024 });
/** The old one is asked where there is one. */
export const PasswordBody = Type.Object({ old_password: Type.Optional(Password), new_password: Password }, strict);
export const DeleteMeBody = Type.Object({ password: Type.Optional(Password) }, strict);

export const ACCOUNT_ROUTES = {
  'accounts.get': { method: 'GET', path: '/v1/users/me', about: 'My account.', auth: 'device', reply: { 200: User } },
  'accounts.changePassword': {
    method: 'POST',
    path: '/v1/auth/password',
    about: 'A new password; ends all my other sessions.',
    auth: 'device',
    guarded: true,
    body: PasswordBody,
    reply: { 200: Revoked },
  },
  'accounts.delete': {
    method: 'DELETE',
    path: '/v1/users/me',
    about: 'Deletes my account: devices, keys, inbox, names; the contents of my messages.',
    auth: 'device',
    guarded: true,
    body: DeleteMeBody,
    reply: { 200: Revoked },
  },
} as const satisfies Record<string, Route>;
