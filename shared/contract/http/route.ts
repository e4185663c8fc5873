/** The shape of a route of the HTTP API, and the parts of bodies and replies that many routes share. */
import Type, { type TSchema } from 'typebox';

export const strict = { additionalProperties: false } as const;

/** The scopes of service tokens. `admin` includes all others. */
export const SCOPES = ['admin', 'webhooks', 'payments'] as const;
export type Scope = (typeof SCOPES)[number];

export interface Route {
  method: 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE';
  /** `{id}` is replaced by an Id. */
  path: string;
  /** One sentence for people: what the call does. */
  about: string;
  /** `device`: an access token of a person's device. `service`: a service token with that scope, for integrations and operators. */
  auth: 'none' | 'device' | 'service';
  scope?: Scope;
  /** Calls are counted against AUTH_RATE_LIMIT_*. */
  guarded?: boolean;
  body?: TSchema;
  /** The body may have HTTP_MAX_BODY_BYTES instead of HTTP_SMALL_BODY_BYTES. Only for routes with a token. */
  large?: boolean;
  /** The handler gets the body's bytes and the headers as they came, since a signature covers them. */
  raw?: boolean;
  query?: TSchema;
  /** The data of the reply, by status. It is wrapped in `data` unless `bare`. */
  reply: Readonly<Record<number, TSchema>>;
  bare?: boolean;
}

export const page = {
  limit: Type.Optional(Type.Integer({ minimum: 1, maximum: 100 })),
  cursor: Type.Optional(Type.String({ minLength: 1, maxLength: 256 })),
};
export const listOf = <T extends TSchema>(item: T) =>
  Type.Object({ items: Type.Array(item), next_cursor: Type.Union([Type.String(), Type.Null()]) });
