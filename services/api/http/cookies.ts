/** Cookies of browsers: the refresh token, out of reach of scripts, and the CSRF token that has to come back with it. */
import type { ParameterizedContext } from 'koa';
import type { Config } from '../../../shared/config/index.ts';

export const REFRESH_COOKIE = 'sealwire_refresh';
export const CSRF_COOKIE = 'sealwire_csrf';

/** The parts of a request that only browsers send. */
export interface Browser {
  refresh_token: string | undefined;
  csrf_token: string;
  origin: string;
  host: string;
}

export function readBrowser(ctx: ParameterizedContext): Browser {
  return {
    refresh_token: ctx.cookies.get(REFRESH_COOKIE),
    csrf_token: ctx.get('x-csrf-token'),
    origin: ctx.get('origin'),
    host: ctx.host,
  };
}

export interface Cookies {
  /** Values of `set-cookie` that store both tokens. */
  store(refresh_token: string, csrf_token: string): string[];
  /** Values of `set-cookie` that make a browser delete both. */
  clear(): string[];
}

export function createCookies(config: Pick<Config, 'COOKIE_SECURE' | 'REFRESH_TOKEN_EXPIRE_DAYS'>): Cookies {
  const secure = config.COOKIE_SECURE ? '; Secure' : '';
  /** Scripts of the page read the second cookie and send it as a header. A page of another site can do neither. */
  const print = (refresh: string, csrf: string, maxAgeSec: number): string[] => [
    `${REFRESH_COOKIE}=${refresh}; Max-Age=${maxAgeSec}; Path=/v1/auth; HttpOnly; SameSite=Strict${secure}`,
    `${CSRF_COOKIE}=${csrf}; Max-Age=${maxAgeSec}; Path=/; SameSite=Strict${secure}`,
  ];
  return {
    store: (refresh_token, csrf_token) => print(refresh_token, csrf_token, config.REFRESH_TOKEN_EXPIRE_DAYS * 86_400),
    clear: () => print('', '', 0),
  };
}
