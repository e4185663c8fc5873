/** Builds Koa's router from the table of routes and one handler for each route. */
import Router from '@koa/router';
import type { ParameterizedContext } from 'koa';
import Type, { type TSchema } from 'typebox';
import { type AttemptLimits, addressKey } from '../../../shared/auth/attempt-limits.ts';
import type { Identity } from '../../../shared/auth/tokens.ts';
import type { Config } from '../../../shared/config/index.ts';
import { ApiError } from '../../../shared/contract/errors.ts';
import type { Scope } from '../../../shared/contract/http/route.ts';
import {
  type BodyOf,
  type QueryOf,
  type ReplyOf,
  ROUTES,
  type Route,
  type RouteName,
  type RoutesOf,
} from '../../../shared/contract/http/routes.ts';
import { Id } from '../../../shared/contract/scalars.ts';
import { checker } from '../../../shared/contract/validate.ts';
import { Bodies } from './bodies.ts';
import { type Browser, readBrowser } from './cookies.ts';
import type { State } from './middleware.ts';

/** A request whose signature covers the bytes: headers and body as they came. */
export interface RawRequest {
  header(name: string): string;
  /** @throws {ApiError} `too_large` */
  body(limit: number): Promise<Buffer>;
}
/** The holder of a service token. */
export interface ServiceCaller {
  /** The id of the token, or `admin` for ADMIN_TOKEN. */
  token_id: string;
  scopes: Scope[];
}
interface Caller {
  device: Identity;
  service: ServiceCaller;
  none: undefined;
}
/** A request that has passed the checks of its route. */
export interface RouteRequest<N extends RouteName> {
  /** The `{id}` of the path; empty for a path without one. */
  id: string;
  body: BodyOf<N>;
  query: QueryOf<N>;
  me: Caller[(typeof ROUTES)[N]['auth']];
  raw: (typeof ROUTES)[N] extends { raw: true } ? RawRequest : undefined;
  idempotency_key: string | undefined;
  /** Address of the client. */
  ip: string;
  browser: Browser;
}
export type Handler<N extends RouteName> = (request: RouteRequest<N>) => Promise<ReplyOf<N> & { cookies?: string[] }>;
export type Handlers = { [N in RouteName]: Handler<N> };
/** The handlers of a resource: `HandlersOf<'keys'>` has one for each route whose name begins with `keys.`. */
export type HandlersOf<P extends string> = Pick<Handlers, RoutesOf<P>>;

type Ctx = ParameterizedContext<State>;
type AnyHandler = (request: unknown) => Promise<{ status: number; data: unknown; cookies?: string[] }>;

const IDEMPOTENCY_KEY = /^[!-~]{1,255}$/;
const checkParams = checker(Type.Object({ id: Type.Optional(Id) }), 'path');
const checkEmptyQuery = checker(Type.Object({}, { additionalProperties: false }), 'query');

function readBearerToken(header: string): string {
  const [, token] = /^Bearer +([\w.~+/=-]{1,4096})$/i.exec(header) ?? [];
  if (!token) throw new ApiError('unauthenticated', 'send Authorization: Bearer <access_token>');
  return token;
}

function readIdempotencyKey(ctx: Ctx): string | undefined {
  const key = ctx.get('idempotency-key') || undefined;
  if (key && !IDEMPOTENCY_KEY.test(key))
    throw new ApiError('invalid_request', 'Idempotency-Key must have 1 to 255 printable ASCII characters');
  return key;
}

/** Turns texts of a query into the integers that the schema wants. A text that is no integer stays: the check refuses it. */
function parseIntegers(query: Record<string, unknown>, schema: TSchema): Record<string, unknown> {
  const { properties } = schema as unknown as { properties: Record<string, { type?: string }> };
  return Object.fromEntries(
    Object.entries(query).map(([key, value]) => {
      const wanted = Object.hasOwn(properties, key) && properties[key]!.type === 'integer';
      return [key, wanted && typeof value === 'string' && /^\d{1,16}$/.test(value) ? Number(value) : value];
    }),
  );
}

/** Finds the owner of a bearer token. @throws {ApiError} `unauthenticated`, `token_expired`, `forbidden` */
export interface Authenticate {
  device(token: string): Promise<Identity>;
  service(token: string, scope: Scope): Promise<ServiceCaller>;
}
export interface RouterDeps {
  authenticate: Authenticate;
  limits: AttemptLimits;
  config: Config;
}

/** @throws when a route has no handler, or a handler no route. */
export function createRouter(handlers: Handlers, { authenticate, limits, config }: RouterDeps): Router<State> {
  const router = new Router<State>();
  const bodies = new Bodies(config);
  const stray = Object.keys(handlers).filter((name) => !Object.hasOwn(ROUTES, name));
  if (stray.length) throw new Error(`handlers without a route: ${stray.join(', ')}`);

  async function authenticateCaller(route: Route, ctx: Ctx): Promise<Identity | ServiceCaller | undefined> {
    if (route.auth === 'none') return undefined;
    const token = readBearerToken(ctx.get('authorization'));
    if (route.auth === 'service') return authenticate.service(token, route.scope ?? 'admin');
    const me = await authenticate.device(token);
    ctx.state.user_id = me.user_id;
    return me;
  }

  for (const [name, route] of Object.entries(ROUTES) as [RouteName, Route][]) {
    const handler = handlers[name] as AnyHandler | undefined;
    if (!handler) throw new Error(`route ${name} has no handler`);
    const checkBody = route.body && checker(route.body, 'body');
    const limit = route.large ? config.HTTP_MAX_BODY_BYTES : config.HTTP_SMALL_BODY_BYTES;
    const checkQuery = route.query && checker(route.query, 'query');

    router.register(route.path.replaceAll(/\{(\w+)\}/g, ':$1'), [route.method], async (ctx) => {
      ctx.state.route = route.path;
      if (route.guarded) await limits.takeCall(ctx.ip);
      const me = await authenticateCaller(route, ctx);
      const { id = '' } = checkParams(ctx.params);
      const query = checkQuery ? checkQuery(parseIntegers(ctx.query, route.query!)) : checkEmptyQuery(ctx.query);
      const caller = ctx.state.user_id ?? addressKey(ctx.ip);
      const body = checkBody && (await bodies.read(ctx.req, { limit, caller }, checkBody));
      const raw: RawRequest | undefined = route.raw
        ? { header: (header) => ctx.get(header), body: (limit) => bodies.readBytes(ctx.req, { limit, caller }) }
        : undefined;
      const { status, data, cookies } = await handler({
        id,
        body,
        query,
        me,
        raw,
        idempotency_key: readIdempotencyKey(ctx),
        ip: ctx.ip,
        browser: readBrowser(ctx),
      });
      if (cookies) ctx.set('set-cookie', cookies);
      ctx.status = status;
      ctx.body = route.bare ? data : { data };
    });
  }
  return router;
}
