/** The HTTP API, once: the router, the checks, the documents and the tests are made from this table. */
import Type, { type Static, type TSchema } from 'typebox';
import { MessageBody } from '../message-extras.ts';
import { Conversation, Member, Message, User } from '../objects.ts';
import { Id, Seq } from '../scalars.ts';
import { ACCOUNT_ROUTES } from './account-routes.ts';
import { KEY_ROUTES } from './key-routes.ts';
import { PAYMENT_ROUTES } from './payment-routes.ts';
import { DirectBody, Pong } from './people.ts';
import { PUSH_ROUTES } from './push.ts';
import { listOf, page, type Route, strict } from './route.ts';
import { WEBHOOK_ROUTES } from './webhook-routes.ts';

export type { Route };

const Queued = Type.Object({ message_id: Id, seq: Seq, status: Type.Literal('queued') });

export const ROUTES = {
  ping: {
    method: 'GET',
    path: '/v1/ping',
    about: 'Version and time of the server.',
    auth: 'none',
    reply: { 200: Pong },
  },
  ...ACCOUNT_ROUTES,
  me: { method: 'GET', path: '/v1/users/me', about: 'My account.', auth: 'device', reply: { 200: User } },
  ...KEY_ROUTES,
  direct: {
    method: 'POST',
    path: '/v1/conversations/direct',
    about: 'The one direct conversation with a person; 201 when this call made it.',
    auth: 'device',
    body: DirectBody,
    reply: { 200: Conversation, 201: Conversation },
  },
  create: {
    method: 'POST',
    path: '/v1/conversations',
    about: 'A new group. With an Idempotency-Key a repeated call gives the same group.',
    auth: 'device',
    body: Type.Object(
      {
        type: Type.Literal('group'),
        name: Type.Optional(Type.String({ minLength: 1, maxLength: 128 })),
        description: Type.Optional(Type.String({ maxLength: 1024 })),
        member_ids: Type.Array(Id, { maxItems: 10_000 }),
      },
      strict,
    ),
    large: true,
    reply: { 200: Conversation, 201: Conversation },
  },
  conversations: {
    method: 'GET',
    path: '/v1/conversations',
    about: 'My conversations, the latest changed first.',
    auth: 'device',
    query: Type.Object(page, strict),
    reply: { 200: listOf(Conversation) },
  },
  conversation: {
    method: 'GET',
    path: '/v1/conversations/{id}',
    about: 'One of my conversations.',
    auth: 'device',
    reply: { 200: Conversation },
  },
  members: {
    method: 'GET',
    path: '/v1/conversations/{id}/members',
    about: 'Who is in a conversation of mine.',
    auth: 'device',
    query: Type.Object(page, strict),
    reply: { 200: listOf(Member) },
  },
  send: {
    method: 'POST',
    path: '/v1/conversations/{id}/messages',
    about: 'Send a sealed message; 202 once it is durable, 200 when it was sent before.',
    auth: 'device',
    body: Type.Object(MessageBody, strict),
    large: true,
    reply: { 200: Queued, 202: Queued },
  },
  read: {
    method: 'POST',
    path: '/v1/conversations/{id}/read',
    about: 'I have read up to seq.',
    auth: 'device',
    body: Type.Object({ seq: Seq }, strict),
    reply: { 200: Type.Object({ conversation_id: Id, seq: Seq }) },
  },
  history: {
    method: 'GET',
    path: '/v1/conversations/{id}/messages',
    about:
      'Messages ascending from after_seq, descending from before_seq (or from the newest), or newest first by page and per_page with totals.',
    auth: 'device',
    query: Type.Object(
      {
        ...page,
        after_seq: Type.Optional(Seq),
        before_seq: Type.Optional(Seq),
        page: Type.Optional(Type.Integer({ minimum: 1, maximum: 1_000_000 })),
        per_page: Type.Optional(Type.Integer({ minimum: 1, maximum: 100 })),
      },
      strict,
    ),
    reply: {
      200: Type.Union([
        listOf(Message),
        Type.Object({
          messages: Type.Array(Message),
          page: Type.Integer(),
          per_page: Type.Integer(),
          total: Type.Integer(),
          pages: Type.Integer(),
        }),
      ]),
    },
  },
  ...PAYMENT_ROUTES,
  ...PUSH_ROUTES,
  ...WEBHOOK_ROUTES,
} as const satisfies Record<string, Route>;

export type RouteName = keyof typeof ROUTES;
type Part<N extends RouteName, P extends 'body' | 'query'> = (typeof ROUTES)[N] extends { [K in P]: infer S }
  ? S extends TSchema
    ? Static<S>
    : undefined
  : undefined;
export type BodyOf<N extends RouteName> = Part<N, 'body'>;
export type QueryOf<N extends RouteName> = Part<N, 'query'>;
/** What the handler of a route may answer with, per status. */
export type ReplyOf<N extends RouteName> = {
  [S in keyof (typeof ROUTES)[N]['reply']]: {
    status: S;
    data: (typeof ROUTES)[N]['reply'][S] extends TSchema ? Static<(typeof ROUTES)[N]['reply'][S]> : never;
  };
}[keyof (typeof ROUTES)[N]['reply']];
