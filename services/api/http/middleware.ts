/** What every request goes through: id, one log line, typed errors, headers that browsers heed. */
import type { Context as Ctx, Middleware } from 'koa';
import { ApiError } from '../../../shared/contract/errors.ts';
import { uuid7 } from '../../../shared/ids.ts';
import type { Origins } from '../../../shared/origins.ts';
import type { Context } from '../../../shared/service.ts';
import { isTransient } from '../../../shared/transient.ts';

export interface State {
  request_id: string;
  /** The route's pattern, for logs and metrics; never the path, which holds ids. */
  route?: string;
  user_id?: string;
}

const REQUEST_ID = /^[\w.-]{8,64}$/;

export function asApiError(error: unknown): ApiError {
  if (error instanceof ApiError) return error;
  if (isTransient(error))
    return new ApiError('unavailable', 'a part of the service cannot be reached just now', { retry_after_ms: 1_000 });
  return new ApiError('internal', 'something went wrong on our side');
}

/** The rest of a refused body is read only if it is short, so that the connection can be used again. */
const READ_ON_BYTES = 16_384;
function remains({ req }: Ctx): number {
  if (req.complete) return 0;
  const { 'content-length': length, 'transfer-encoding': encoding } = req.headers;
  return encoding === undefined ? Number(length ?? 0) : Number.POSITIVE_INFINITY;
}

function answerError(ctx: Ctx, error: ApiError): void {
  ctx.status = error.status;
  ctx.body = { error };
  if (error.retry_after_ms !== undefined) ctx.set('retry-after', String(Math.ceil(error.retry_after_ms / 1000)));
  if (error.status === 401) ctx.set('www-authenticate', 'Bearer');
  if (error.code === 'too_large' || remains(ctx) > READ_ON_BYTES) ctx.set('connection', 'close');
}

export function outermost({ log, metrics }: Pick<Context, 'log' | 'metrics'>): Middleware<State> {
  return async (ctx, next) => {
    const started = performance.now();
    const given = ctx.get('x-request-id');
    ctx.state.request_id = REQUEST_ID.test(given) ? given : uuid7();
    ctx.set({
      'x-request-id': ctx.state.request_id,
      'x-content-type-options': 'nosniff',
      'cache-control': 'no-store',
      'referrer-policy': 'no-referrer',
      'content-security-policy': "default-src 'none'; frame-ancestors 'none'",
    });
    let failure: unknown;
    try {
      await next();
      if (ctx.status === 404 && ctx.body == null) throw new ApiError('not_found', 'there is nothing at this address');
    } catch (error) {
      failure = error;
      answerError(ctx, asApiError(error));
    }
    const ms = performance.now() - started;
    const { route = 'none', user_id, request_id } = ctx.state;
    metrics.http.observe({ method: ctx.method, route, status: ctx.status }, ms / 1000);
    const line = {
      unit: 'http',
      method: ctx.method,
      route,
      status: ctx.status,
      ms: Math.round(ms * 10) / 10,
      request_id,
      user_id,
    };
    const error = failure === undefined ? undefined : asApiError(failure);
    if (error?.code === 'internal') log.error({ ...line, code: error.code, error: describe(failure) });
    else if (error?.code === 'unavailable') log.warn({ ...line, code: error.code });
    else log.info({ ...line, code: error?.code });
  };
}

/** Without the message of a database error, which may quote a row. */
function describe(error: unknown): Record<string, unknown> {
  const { name, code, constraint, stack } = (error ?? {}) as Record<string, unknown>;
  return {
    name,
    code,
    constraint,
    stack: String(stack ?? '')
      .replace(/^[\s\S]*?(?=\n\s+at )/, '')
      .slice(0, 2000),
  };
}

export function cors(origins: Origins): Middleware<State> {
  return async (ctx, next) => {
    const origin = ctx.get('origin');
    ctx.vary('Origin');
    if (origin && origins.allows(origin, ctx.host)) {
      ctx.set('access-control-allow-origin', origin);
      ctx.set('access-control-expose-headers', 'x-request-id, retry-after');
      // The cookie of the refresh token; never for whoever asks.
      if (origins.trusts(origin)) ctx.set('access-control-allow-credentials', 'true');
      if (ctx.method === 'OPTIONS' && ctx.get('access-control-request-method')) {
        ctx.state.route = 'preflight';
        ctx.set({
          'access-control-allow-methods': 'GET, POST, PUT, PATCH, DELETE',
          'access-control-allow-headers': 'authorization, content-type, idempotency-key, x-csrf-token, x-request-id',
          'access-control-max-age': '600',
        });
        ctx.status = 204;
        return;
      }
    }
    await next();
  };
}
