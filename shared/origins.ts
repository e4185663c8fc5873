/**
 * Decides from which pages a browser may use this server: one rule for the API and the edge. Since a browser shows a page no
 * reason of a refusal, refusals are logged here, with the setting that would allow the page.
 */
import type { Logger } from 'pino';
import type { Config } from './config/index.ts';
import { ApiError } from './contract/errors.ts';

type Terms = Pick<Config, 'ALLOWED_ORIGINS' | 'CORS_ORIGINS' | 'WS_ALLOWED_ORIGINS' | 'NODE_ENV'>;
/** Deprecated settings, read where ALLOWED_ORIGINS is not set. */
type DeprecatedSetting = 'CORS_ORIGINS' | 'WS_ALLOWED_ORIGINS';

export interface Origins {
  /** Whether the origin is listed by name, or is local outside production: such a page may use cookies too. */
  trusts(origin: string): boolean;
  /** Whether the origin is trusted, all are allowed, or the page comes from `host` itself. Logs a refusal. */
  allows(origin: string, host: string): boolean;
  /** @returns the error `forbidden` for an origin that is not allowed; undefined for others, and without an origin. */
  refusal(origin: string, host: string): ApiError | undefined;
}

const LOCAL = /^http:\/\/(?:localhost|127\.0\.0\.1|\[::1\])(?::\d+)?$/;
/** Clients choose what they send as Origin. So its logged length is bounded, and the number of logged origins. */
const MAX_LOGGED_LENGTH = 200;
const MAX_LOGGED = 100;

export function createOrigins(
  config: Terms,
  deprecated: DeprecatedSetting,
  log?: Pick<Logger, 'warn'>,
  maxLogged = MAX_LOGGED,
): Origins {
  const listed = new Set(config.ALLOWED_ORIGINS.length ? config.ALLOWED_ORIGINS : config[deprecated]);
  const local = config.NODE_ENV !== 'production';
  const logged = new Set<string>();

  function report(origin: string): void {
    if (logged.has(origin) || logged.size > maxLogged) return;
    logged.add(origin);
    const line = { unit: 'origins', setting: 'ALLOWED_ORIGINS' };
    if (logged.size > maxLogged) log?.warn(line, 'more origins were refused; they are not logged any more');
    else
      log?.warn(
        { ...line, origin: origin.slice(0, MAX_LOGGED_LENGTH) },
        'a page of this origin was refused; to allow it, add the origin to ALLOWED_ORIGINS',
      );
  }

  const trusts = (origin: string): boolean => listed.has(origin) || (local && LOCAL.test(origin));
  const isSame = (origin: string, host: string): boolean => URL.canParse(origin) && new URL(origin).host === host;
  function allows(origin: string, host: string): boolean {
    if (trusts(origin) || listed.has('*') || isSame(origin, host)) return true;
    report(origin);
    return false;
  }
  return {
    trusts,
    allows,
    refusal(origin, host) {
      // Only browsers send Origin, and only they run pages of other hosts.
      if (!origin || allows(origin, host)) return undefined;
      return new ApiError('forbidden', 'pages of this origin may not connect: add the origin to ALLOWED_ORIGINS', {
        details: { setting: 'ALLOWED_ORIGINS' },
      });
    },
  };
}
