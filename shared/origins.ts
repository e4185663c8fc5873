/**
 * From which pages a browser may use this server: one rule for the API and the edge. A browser tells a page nothing of a
 * refusal, so it is logged here, with the setting that would let the page in.
 */
import type { Logger } from 'pino';
import type { Config } from './config/index.ts';
import { ApiError } from './contract/errors.ts';

type Terms = Pick<Config, 'ALLOWED_ORIGINS' | 'CORS_ORIGINS' | 'WS_ALLOWED_ORIGINS' | 'NODE_ENV'>;
/** The setting of before, read where ALLOWED_ORIGINS is not set. */
type Former = 'CORS_ORIGINS' | 'WS_ALLOWED_ORIGINS';

export interface Origins {
  /** Listed by name, or of this machine outside production: such a page may also use cookies. */
  trusts(origin: string): boolean;
  /** Trusted, or all are allowed, or the page comes from `host` itself. Logs a refusal. */
  allows(origin: string, host: string): boolean;
  /** `forbidden`, for one that is not allowed; undefined for others, and where no browser asks. */
  refusal(origin: string, host: string): ApiError | undefined;
}

const LOCAL = /^http:\/\/(?:localhost|127\.0\.0\.1|\[::1\])(?::\d+)?$/;
/** Clients choose what they send as Origin: so much of it is logged, of so many. */
const SHOWN = 200;
const MAX_LOGGED = 100;

export function openOrigins(
  config: Terms,
  former: Former,
  log?: Pick<Logger, 'warn'>,
  maxLogged = MAX_LOGGED,
): Origins {
  const listed = new Set(config.ALLOWED_ORIGINS.length ? config.ALLOWED_ORIGINS : config[former]);
  const local = config.NODE_ENV !== 'production';
  const logged = new Set<string>();

  function report(origin: string): void {
    if (logged.has(origin) || logged.size > maxLogged) return;
    logged.add(origin);
    const about = { unit: 'origins', setting: 'ALLOWED_ORIGINS' };
    if (logged.size > maxLogged) log?.warn(about, 'more origins were refused; they are not logged any more');
    else
      log?.warn(
        { ...about, origin: origin.slice(0, SHOWN) },
        'a page of this origin was refused; to let it in, add the origin to ALLOWED_ORIGINS',
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
      // Only browsers send it, and only they carry somebody else's page.
      if (!origin || allows(origin, host)) return undefined;
      return new ApiError('forbidden', 'pages of this origin may not connect: add the origin to ALLOWED_ORIGINS', {
        details: { setting: 'ALLOWED_ORIGINS' },
      });
    },
  };
}
