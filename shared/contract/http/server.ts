/** The routes about the server itself. */
import Type from 'typebox';
import { Time } from '../scalars.ts';
import type { Route } from './route.ts';

export const Pong = Type.Object({ server_version: Type.String(), server_time: Time });

export const SERVER_ROUTES = {
  'server.ping': {
    method: 'GET',
    path: '/v1/ping',
    about: 'Returns version and time of the server.',
    auth: 'none',
    reply: { 200: Pong },
  },
} as const satisfies Record<string, Route>;
