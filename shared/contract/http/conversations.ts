/** Conversations and their members: bodies and routes. */
import Type, { type Static } from 'typebox';
import { Conversation, Member } from '../objects.ts';
import { AccountNumber, Id } from '../scalars.ts';
import { listOf, page, type Route, strict } from './route.ts';

/** The person of a direct conversation, named by exactly one of the fields. */
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

export const CONVERSATION_ROUTES = {
  'conversations.createDirect': {
    method: 'POST',
    path: '/v1/conversations/direct',
    about: 'Returns the one direct conversation with a person; 201 when this call created it.',
    auth: 'device',
    body: DirectBody,
    reply: { 200: Conversation, 201: Conversation },
  },
  'conversations.create': {
    method: 'POST',
    path: '/v1/conversations',
    about: 'Creates a group. With an Idempotency-Key a repeated call returns the same group.',
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
  'conversations.list': {
    method: 'GET',
    path: '/v1/conversations',
    about: 'Lists my conversations, the latest changed first.',
    auth: 'device',
    query: Type.Object(page, strict),
    reply: { 200: listOf(Conversation) },
  },
  'conversations.get': {
    method: 'GET',
    path: '/v1/conversations/{id}',
    about: 'Returns one of my conversations.',
    auth: 'device',
    reply: { 200: Conversation },
  },
  'conversations.members.list': {
    method: 'GET',
    path: '/v1/conversations/{id}/members',
    about: 'Lists the members of a conversation of mine.',
    auth: 'device',
    query: Type.Object(page, strict),
    reply: { 200: listOf(Member) },
  },
} as const satisfies Record<string, Route>;
