/** Surrounds every request: gives it an id, turns errors into typed replies, writes one log line and one measurement. */
import type { Context as Ctx, Middleware } from 'koa';
import { ApiError } from '../../../shared/contract/errors.ts';
import { uuid7 } from '../../../shared/ids.ts';
import { describeError } from '../../../shared/log.ts';
import type { Context } from '../../../shared/service.ts';
import { toApiError } from './errors.ts';

export interface State {
  request_id: string;
  /** The pattern of the route, for logs and metrics. Never the path itself, which contains ids. */
  route?: string;
  user_id?: string;
}

const REQUEST_ID = /^[\w.-]{8,64}$/;
const HEADERS = {
  'x-content-type-options': 'nosniff',
  'cache-control': 'no-store',
  'referrer-policy': 'no-referrer',
  'content-security-policy': "default-src 'none'; frame-ancestors 'none'",
};

/** Up to this size the rest of a refused body is read, so that the connection can be used again. */
const DRAIN_MAX_BYTES = 16_384;
function countUnreadBytes({ req }: Ctx): number {
  if (req.complete) return 0;
  const { 'content-length': length, 'transfer-encoding': encoding } = req.headers;
  return encoding === undefined ? Number(length ?? 0) : Number.POSITIVE_INFINITY;
}

function answerError(ctx: Ctx, error: ApiError): void {
  ctx.status = error.status;
  ctx.body = { error };
  if (error.retry_after_ms !== undefined) ctx.set('retry-after', String(Math.ceil(error.retry_after_ms / 1000)));
  if (error.status === 401) ctx.set('www-authenticate', 'Bearer');
  if (error.code === 'too_large' || countUnreadBytes(ctx) > DRAIN_MAX_BYTES) ctx.set('connection', 'close');
}

export function handleRequests({ log, metrics }: Pick<Context, 'log' | 'metrics'>): Middleware<State> {
  function report(ctx: Ctx & { state: State }, ms: number, failure: unknown): void {
    const { route = 'none', user_id, request_id } = ctx.state;
    metrics.http.observe({ method: ctx.method, route, status: ctx.status }, ms / 1000);
    const { code } = failure === undefined ? {} : toApiError(failure);
    const line = {
      unit: 'http',
      method: ctx.method,
      route,
      status: ctx.status,
      ms: Math.round(ms * 10) / 10,
      request_id,
      user_id,
      code,
    };
    if (code === 'internal') log.error({ ...line, error: describeError(failure) });
    else if (code === 'unavailable') log.warn(line);
    else log.info(line);
  }

  return async (ctx, next) => {
    const started = performance.now();
    const given = ctx.get('x-request-id');
    ctx.state.request_id = REQUEST_ID.test(given) ? given : uuid7();
    ctx.set({ 'x-request-id': ctx.state.request_id, ...HEADERS });
    let failure: unknown;
    try {
      await next();
      if (ctx.status === 404 && ctx.body == null) throw new ApiError('not_found', 'there is no such route');
    } catch (error) {
      failure = error;
      answerError(ctx, toApiError(error));
    }
    report(ctx, performance.now() - started, failure);
  };
}
