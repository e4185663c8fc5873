/** Messages of a conversation: replies and routes. The body of a message is declared in message-extras.ts. */
import Type from 'typebox';
import { MessageBody } from '../message-extras.ts';
import { Message } from '../objects.ts';
import { Id, Seq } from '../scalars.ts';
import { listOf, page, type Route, strict } from './route.ts';

const Queued = Type.Object({ message_id: Id, seq: Seq, status: Type.Literal('queued') });

export const MESSAGE_ROUTES = {
  'messages.send': {
    method: 'POST',
    path: '/v1/conversations/{id}/messages',
    about: 'Sends a sealed message; 202 once it is durable, 200 when it was sent before.',
    auth: 'device',
    body: Type.Object(MessageBody, strict),
    large: true,
    reply: { 200: Queued, 202: Queued },
  },
  'messages.list': {
    method: 'GET',
    path: '/v1/conversations/{id}/messages',
    about:
      'Lists messages: ascending from after_seq, descending from before_seq (or from the newest), or newest first by page and per_page with totals.',
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
  'messages.markRead': {
    method: 'POST',
    path: '/v1/conversations/{id}/read',
    about: 'Marks everything up to seq as read by me.',
    auth: 'device',
    body: Type.Object({ seq: Seq }, strict),
    reply: { 200: Type.Object({ conversation_id: Id, seq: Seq }) },
  },
} as const satisfies Record<string, Route>;
