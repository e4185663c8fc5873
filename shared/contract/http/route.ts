/** What a route of the HTTP API is, and the parts that many share. */
import Type, { type TSchema } from 'typebox';

export const strict = { additionalProperties: false } as const;

/** What a service token may do; `admin` may everything. */
export const SCOPES = ['admin', 'webhooks', 'payments'] as const;
export type Scope = (typeof SCOPES)[number];

export interface Route {
  method: 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE';
  /** `{id}` stands for an Id. */
  path: string;
  about: string;
  /** `device`: a bearer token. `service`: a service token with that scope, for what people don't do. */
  auth: 'none' | 'device' | 'service';
  scope?: Scope;
  /** Counted against AUTH_RATE_LIMIT_*. */
  guarded?: boolean;
  body?: TSchema;
  /** Its body may have HTTP_MAX_BODY_BYTES; without it, HTTP_SMALL_BODY_BYTES. Only of routes with a token. */
  large?: boolean;
  /** The handler gets the body's bytes and the headers as they came, since a signature covers them. */
  raw?: boolean;
  query?: TSchema;
  /** Per status; wrapped in `data` unless `bare`. */
  reply: Readonly<Record<number, TSchema>>;
  bare?: boolean;
}

export const page = {
  limit: Type.Optional(Type.Integer({ minimum: 1, maximum: 100 })),
  cursor: Type.Optional(Type.String({ minLength: 1, maxLength: 256 })),
};
export const listOf = <T extends TSchema>(item: T) =>
  Type.Object({ items: Type.Array(item), next_cursor: Type.Union([Type.String(), Type.Null()]) });
