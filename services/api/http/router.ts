/** From the table of routes and a handler for each to Koa's router. */
import Router from '@koa/router';
import type { ParameterizedContext } from 'koa';
import Type, { type TSchema } from 'typebox';
import { addressKey, type Limits } from '../../../shared/auth/attempt-limits.ts';
import type { Identity } from '../../../shared/auth/tokens.ts';
import type { Config } from '../../../shared/config/index.ts';
import { ApiError } from '../../../shared/contract/errors.ts';
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
import type { ServiceIdentity, ServiceTokens } from '../auth/service-tokens.ts';
import { type Browser, REFRESH_COOKIE } from '../auth/token-response.ts';
import { Bodies } from './bodies.ts';
import type { State } from './middleware.ts';

export interface Raw {
  header(name: string): string;
  /** @throws {ApiError} `too_large` */
  body(limit: number): Promise<Buffer>;
}
interface Caller {
  device: Identity;
  service: ServiceIdentity;
  none: undefined;
}
export interface Asked<N extends RouteName> {
  /** What stands for `{id}` in the path; empty for a path without one. */
  id: string;
  body: BodyOf<N>;
  query: QueryOf<N>;
  me: Caller[(typeof ROUTES)[N]['auth']];
  /** Of a raw route: the headers, and the body's bytes up to a limit. */
  raw: (typeof ROUTES)[N] extends { raw: true } ? Raw : undefined;
  idempotency_key: string | undefined;
  /** Address of the client. */
  ip: string;
  browser: Browser;
}
export type Handler<N extends RouteName> = (asked: Asked<N>) => Promise<ReplyOf<N> & { cookies?: string[] }>;
export type Handlers = { [N in RouteName]: Handler<N> };
/** The handlers of a resource: `HandlersOf<'keys'>` has one for each route whose name begins with `keys.`. */
export type HandlersOf<P extends string> = Pick<Handlers, RoutesOf<P>>;

type Ctx = ParameterizedContext<State>;

const IDEMPOTENCY_KEY = /^[!-~]{1,255}$/;
const checkParams = checker(Type.Object({ id: Type.Optional(Id) }), 'path');
const checkNothing = checker(Type.Object({}, { additionalProperties: false }), 'query');

export function bearer(header: string): string {
  const [, token] = /^Bearer +([\w.~+/=-]{1,4096})$/i.exec(header) ?? [];
  if (!token) throw new ApiError('unauthenticated', 'send Authorization: Bearer <access_token>');
  return token;
}

/** Texts of a query as the numbers that the schema wants; what is no number stays and is refused by the check. */
function numbers(query: Record<string, unknown>, schema: TSchema): Record<string, unknown> {
  const { properties } = schema as unknown as { properties: Record<string, { type?: string }> };
  return Object.fromEntries(
    Object.entries(query).map(([key, value]) => {
      const wanted = Object.hasOwn(properties, key) && properties[key]!.type === 'integer';
      return [key, wanted && typeof value === 'string' && /^\d{1,16}$/.test(value) ? Number(value) : value];
    }),
  );
}

/** Who a bearer token is of. @throws {ApiError} `unauthenticated`, `forbidden` */
export interface Identify {
  device(token: string): Promise<Identity>;
  service: ServiceTokens['verify'];
}

/** @throws when a route has no handler, or a handler no route. */
export function createRouter(handlers: Handlers, identify: Identify, limits: Limits, config: Config): Router<State> {
  const router = new Router<State>();
  const bodies = new Bodies(config);
  const stray = Object.keys(handlers).filter((name) => !Object.hasOwn(ROUTES, name));
  if (stray.length) throw new Error(`handlers without a route: ${stray.join(', ')}`);

  async function identifyCaller(route: Route, ctx: Ctx): Promise<Identity | ServiceIdentity | undefined> {
    if (route.auth === 'none') return undefined;
    const token = bearer(ctx.get('authorization'));
    if (route.auth === 'service') return identify.service(token, route.scope ?? 'admin');
    const me = await identify.device(token);
    ctx.state.user_id = me.user_id;
    return me;
  }

  for (const [name, route] of Object.entries(ROUTES) as [RouteName, Route][]) {
    const handler = handlers[name] as
      | ((asked: unknown) => Promise<{ status: number; data: unknown; cookies?: string[] }>)
      | undefined;
    if (!handler) throw new Error(`route ${name} has no handler`);
    const checkBody = route.body && checker(route.body, 'body');
    const limit = route.large ? config.HTTP_MAX_BODY_BYTES : config.HTTP_SMALL_BODY_BYTES;
    const checkQuery = route.query && checker(route.query, 'query');

    router.register(route.path.replaceAll(/\{(\w+)\}/g, ':$1'), [route.method], async (ctx) => {
      ctx.state.route = route.path;
      if (route.guarded) await limits.call(ctx.ip);
      const me = await identifyCaller(route, ctx);
      const { id = '' } = checkParams(ctx.params);
      const query = checkQuery ? checkQuery(numbers(ctx.query, route.query!)) : checkNothing(ctx.query);
      const caller = ctx.state.user_id ?? addressKey(ctx.ip);
      const body = checkBody && (await bodies.read(ctx.req, { limit, caller }, checkBody));
      const raw = route.raw && {
        header: (header: string) => ctx.get(header),
        body: (most: number) => bodies.readBytes(ctx.req, { limit: most, caller }),
      };
      const key = ctx.get('idempotency-key') || undefined;
      if (key && !IDEMPOTENCY_KEY.test(key))
        throw new ApiError('invalid_request', 'Idempotency-Key is 1 to 255 printable characters');
      const browser: Browser = {
        refresh_token: ctx.cookies.get(REFRESH_COOKIE),
        csrf_token: ctx.get('x-csrf-token'),
        origin: ctx.get('origin'),
        host: ctx.host,
      };
      const { status, data, cookies } = await handler({
        id,
        body,
        query,
        me,
        raw,
        idempotency_key: key,
        ip: ctx.ip,
        browser,
      });
      if (cookies) ctx.set('set-cookie', cookies);
      ctx.status = status;
      ctx.body = route.bare ? data : { data };
    });
  }
  return router;
}
