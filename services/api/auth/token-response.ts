/** The last step of every way in: a session, and its tokens in the reply or, for browsers, the refresh token in a cookie. */
import { timingSafeEqual } from 'node:crypto';
import type { BlindIndex } from '../../../shared/auth/blind-index.ts';
import type { Sessions, Started } from '../../../shared/auth/sessions.ts';
import type { Tokens } from '../../../shared/auth/tokens.ts';
import type { Config } from '../../../shared/config/index.ts';
import { ApiError } from '../../../shared/contract/errors.ts';
import type { LoggedIn, TokenPair } from '../../../shared/contract/http/auth.ts';
import type { Query } from '../../../shared/db/database.ts';
import type { Origins } from '../../../shared/origins.ts';
import type { Account, Accounts } from '../accounts/store.ts';

export const REFRESH_COOKIE = 'sealwire_refresh';
export const CSRF_COOKIE = 'sealwire_csrf';
/** What a browser sends beside the body. */
export interface Browser {
  refresh_token: string | undefined;
  csrf_token: string;
  origin: string;
  host: string;
}
interface Told<T> {
  data: T;
  cookies?: string[];
}

export interface Entering {
  loggedIn(session: Started, inCookie: boolean | undefined): Promise<Told<LoggedIn>>;
  /** With the token of the body, else with the one of the cookie and its CSRF token. @throws {ApiError} */
  refresh(given: string | undefined, browser: Browser, ip: string): Promise<Told<TokenPair>>;
  /** Makes a browser forget. */
  forget(): string[];
}
interface Deps {
  config: Config;
  origins: Origins;
  accounts: Accounts;
  sessions: Sessions;
  tokens: Tokens;
  sealer: BlindIndex;
}

export const signedOut = (): ApiError =>
  new ApiError('unauthenticated', 'this device or account is gone; log in again');

/** An account that changes under somebody's hands is looked at anew so often. */
const LOOKS = 5;

/**
 * Whether the account is still as it was found: not gone, not suspended, with that password. From here to the end of
 * the transaction it stays so; who ends its sessions waits, and then ends the one that is about to begin, too.
 */
export async function hold(query: Query, { id, password_hash }: Account): Promise<boolean> {
  const rows = await query(
    `select 1 from users where id = $1 and deleted_at is null and suspended_at is null
       and password_hash is not distinct from $2 for no key update`,
    [id, password_hash],
  );
  return rows.length > 0;
}

/** Tries `look` until it gives something. @throws {ApiError} `unavailable` */
export async function again<T>(look: () => Promise<T | undefined>): Promise<T> {
  for (let looks = 0; looks < LOOKS; looks++) {
    const found = await look();
    if (found !== undefined) return found;
  }
  throw new ApiError('unavailable', 'the account is being changed; try again', { retry_after_ms: 200 });
}

export function entering({ config, origins, accounts, sessions, tokens, sealer }: Deps): Entering {
  const secure = config.COOKIE_SECURE ? '; Secure' : '';
  const lifeSec = config.REFRESH_TOKEN_EXPIRE_DAYS * 86_400;
  const csrfOf = (session_id: string): string => sealer.mac(`csrf:${session_id}`).toString('base64url');

  /** Scripts read the second one and send it as a header, which no other site can do. */
  const setCookies = (refresh: string, csrf: string, maxAge: number): string[] => [
    `${REFRESH_COOKIE}=${refresh}; Max-Age=${maxAge}; Path=/v1/auth; HttpOnly; SameSite=Strict${secure}`,
    `${CSRF_COOKIE}=${csrf}; Max-Age=${maxAge}; Path=/; SameSite=Strict${secure}`,
  ];

  function hidden<T extends { refresh_token: string }>(reply: T, session_id: string): Told<T> {
    const { refresh_token, ...rest } = reply;
    const csrf_token = csrfOf(session_id);
    // In this form a reply has csrf_token in the place of refresh_token, as its schema says.
    return { data: { ...rest, csrf_token } as unknown as T, cookies: setCookies(refresh_token, csrf_token, lifeSec) };
  }

  function refuseForged(session_id: string, { csrf_token, origin, host }: Browser): void {
    const [wanted, given] = [Buffer.from(csrfOf(session_id)), Buffer.from(csrf_token)];
    const own = !origin || origins.trusts(origin) || (URL.canParse(origin) && new URL(origin).host === host);
    if (!own || wanted.length !== given.length || !timingSafeEqual(wanted, given))
      throw new ApiError('forbidden', `send the cookie ${CSRF_COOKIE} as header x-csrf-token, from a listed origin`);
  }

  return {
    async loggedIn({ holder, refresh_token }, inCookie) {
      const [user, device, access] = await Promise.all([
        accounts.user(holder.user_id),
        accounts.device(holder.device_id),
        tokens.issue(holder),
      ]);
      if (!user || !device) throw signedOut();
      const data = { user, device, ...access, refresh_token };
      return inCookie ? hidden(data, holder.session_id) : { data };
    },

    async refresh(given, browser, ip) {
      if (given !== undefined) return { data: await sessions.refresh(given, ip) };
      if (!browser.refresh_token)
        throw new ApiError('invalid_request', 'body: refresh_token is missing', {
          details: { field: 'refresh_token' },
        });
      const session_id = await sessions.of(browser.refresh_token);
      if (!session_id) throw new ApiError('unauthenticated', 'the refresh token is not valid any more; log in again');
      refuseForged(session_id, browser);
      return hidden(await sessions.refresh(browser.refresh_token, ip), session_id);
    },

    forget: () => setCookies('', '', 0),
  };
}
