/**
 * The table of all HTTP routes, by resource. The router, the checks of requests and the tests of replies are made from it.
 * The docs are written by hand; test/docs/routes.test.ts holds them against this table.
 */
import type { Static, TSchema } from 'typebox';
import { ACCOUNT_ROUTES } from './accounts.ts';
import { AUTH_ROUTES } from './auth.ts';
import { CONVERSATION_ROUTES } from './conversations.ts';
import { DEVICE_ROUTES } from './devices.ts';
import { KEY_ROUTES } from './keys.ts';
import { MESSAGE_ROUTES } from './messages.ts';
import { PAYMENT_ROUTES } from './payments.ts';
import { PUSH_ROUTES } from './push.ts';
import type { Route } from './route.ts';
import { SERVER_ROUTES } from './server.ts';
import { SERVICE_TOKEN_ROUTES } from './service-tokens.ts';
import { SESSION_ROUTES } from './sessions.ts';
import { WEBHOOK_ROUTES } from './webhooks.ts';

export type { Route };

/** Names are `<resource>.<verb>`, used inside only: the public contract is method and path. */
export const ROUTES = {
  ...SERVER_ROUTES,
  ...AUTH_ROUTES,
  ...SESSION_ROUTES,
  ...ACCOUNT_ROUTES,
  ...DEVICE_ROUTES,
  ...KEY_ROUTES,
  ...CONVERSATION_ROUTES,
  ...MESSAGE_ROUTES,
  ...PAYMENT_ROUTES,
  ...PUSH_ROUTES,
  ...WEBHOOK_ROUTES,
  ...SERVICE_TOKEN_ROUTES,
} as const satisfies Record<string, Route>;

export type RouteName = keyof typeof ROUTES;
type Part<N extends RouteName, P extends 'body' | 'query'> = (typeof ROUTES)[N] extends { [K in P]: infer S }
  ? S extends TSchema
    ? Static<S>
    : undefined
  : undefined;
/** The names of a resource: `RoutesOf<'keys'>` is every name that begins with `keys.`, or that name itself. */
export type RoutesOf<P extends string> = Extract<RouteName, P | `${P}.${string}`>;
export type BodyOf<N extends RouteName> = Part<N, 'body'>;
export type QueryOf<N extends RouteName> = Part<N, 'query'>;
/** The replies that the handler of a route may give, per status. */
export type ReplyOf<N extends RouteName> = {
  [S in keyof (typeof ROUTES)[N]['reply']]: {
    status: S;
    data: (typeof ROUTES)[N]['reply'][S] extends TSchema ? Static<(typeof ROUTES)[N]['reply'][S]> : never;
  };
}[keyof (typeof ROUTES)[N]['reply']];
