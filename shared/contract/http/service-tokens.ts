/** Service tokens of integrations and operators: bodies, replies and routes. */
import Type, { type Static } from 'typebox';
import { Id, Time } from '../scalars.ts';
import { listOf, page, type Route, SCOPES, strict } from './route.ts';

export const NewToken = Type.Object(
  {
    name: Type.String({ minLength: 1, maxLength: 64 }),
    scopes: Type.Array(Type.Enum([...SCOPES]), { minItems: 1, maxItems: 16 }),
    expires_in_days: Type.Optional(Type.Integer({ minimum: 1, maximum: 3650 })),
  },
  strict,
);
const token = {
  id: Id,
  name: Type.String(),
  scopes: Type.Array(Type.String()),
  created_at: Time,
  expires_at: Type.Optional(Time),
};
export const ServiceToken = Type.Object(token);
export type ServiceToken = Static<typeof ServiceToken>;
export const ShownToken = Type.Object({ ...token, token: Type.String() });

const admin = { auth: 'service', scope: 'admin' } as const;

export const SERVICE_TOKEN_ROUTES = {
  'serviceTokens.create': {
    method: 'POST',
    path: '/v1/admin/tokens',
    about: 'Creates a service token; only this reply shows it.',
    ...admin,
    body: NewToken,
    reply: { 201: ShownToken },
  },
  'serviceTokens.list': {
    method: 'GET',
    path: '/v1/admin/tokens',
    about: 'Lists service tokens.',
    ...admin,
    query: Type.Object(page, strict),
    reply: { 200: listOf(ServiceToken) },
  },
  'serviceTokens.delete': {
    method: 'DELETE',
    path: '/v1/admin/tokens/{id}',
    about: 'Deletes a service token: it is refused from now on.',
    ...admin,
    reply: { 200: Type.Object({ id: Id }) },
  },
} as const satisfies Record<string, Route>;
