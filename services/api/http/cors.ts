/** Answers the preflight requests of browsers and allows replies to be read by pages of the listed origins. */
import type { Middleware } from 'koa';
import type { Origins } from '../../../shared/origins.ts';
import type { State } from './middleware.ts';

export function cors(origins: Origins): Middleware<State> {
  return async (ctx, next) => {
    const origin = ctx.get('origin');
    ctx.vary('Origin');
    if (origin && origins.allows(origin, ctx.host)) {
      ctx.set('access-control-allow-origin', origin);
      ctx.set('access-control-expose-headers', 'x-request-id, retry-after');
      // For the cookie of the refresh token: only to trusted origins, never to any page when all origins are allowed.
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
