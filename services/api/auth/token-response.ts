/** Makes the reply that carries tokens: both in the body or, for browsers, the refresh token in a cookie. */
import { timingSafeEqual } from 'node:crypto';
import type { BlindIndex } from '../../../shared/auth/blind-index.ts';
import type { Sessions, StartedSession } from '../../../shared/auth/sessions.ts';
import type { Tokens } from '../../../shared/auth/tokens.ts';
import { ApiError } from '../../../shared/contract/errors.ts';
import type { LoggedIn, TokenPair } from '../../../shared/contract/http/auth.ts';
import type { Origins } from '../../../shared/origins.ts';
import type { Accounts } from '../accounts/store.ts';
import { type Browser, type Cookies, CSRF_COOKIE } from '../http/cookies.ts';
import { signedOut } from '../http/errors.ts';

interface Reply<T> {
  data: T;
  cookies?: string[];
}

export interface TokenResponse {
  /** The reply to a log-in. `inCookie`: a browser asks for the refresh token in a cookie. */
  forSession(session: StartedSession, inCookie: boolean | undefined): Promise<Reply<LoggedIn>>;
  /** Renews the tokens by the token of the body, else by the one of the cookie with its CSRF token. @throws {ApiError} */
  refresh(given: string | undefined, browser: Browser, ip: string): Promise<Reply<TokenPair>>;
}
interface Deps {
  origins: Origins;
  accounts: Accounts;
  sessions: Sessions;
  tokens: Tokens;
  blindIndex: BlindIndex;
  cookies: Cookies;
}

export function createTokenResponse(deps: Deps): TokenResponse {
  const { origins, accounts, sessions, tokens, blindIndex, cookies } = deps;
  const csrfTokenOf = (session_id: string): string => blindIndex.mac(`csrf:${session_id}`).toString('base64url');

  function inCookies<T extends { refresh_token: string }>(reply: T, session_id: string): Reply<T> {
    const { refresh_token, ...shown } = reply;
    const csrf_token = csrfTokenOf(session_id);
    // The schema of the reply allows csrf_token in the place of refresh_token; its type knows only the latter.
    return { data: { ...shown, csrf_token } as unknown as T, cookies: cookies.store(refresh_token, csrf_token) };
  }

  function refuseForgery(session_id: string, { csrf_token, origin, host }: Browser): void {
    const [expected, given] = [Buffer.from(csrfTokenOf(session_id)), Buffer.from(csrf_token)];
    const own = !origin || origins.trusts(origin) || (URL.canParse(origin) && new URL(origin).host === host);
    if (!own || expected.length !== given.length || !timingSafeEqual(expected, given))
      throw new ApiError(
        'forbidden',
        `the request may be forged: send the cookie ${CSRF_COOKIE} as header x-csrf-token, from a listed origin`,
      );
  }

  return {
    async forSession({ holder, refresh_token }, inCookie) {
      const [user, device, access] = await Promise.all([
        accounts.findUser(holder.user_id),
        accounts.findDevice(holder.device_id),
        tokens.issue(holder),
      ]);
      if (!user || !device) throw signedOut();
      const data = { user, device, ...access, refresh_token };
      return inCookie ? inCookies(data, holder.session_id) : { data };
    },

    async refresh(given, browser, ip) {
      if (given !== undefined) return { data: await sessions.refreshSession(given, ip) };
      if (!browser.refresh_token)
        throw new ApiError('invalid_request', 'body: refresh_token is missing', {
          details: { field: 'refresh_token' },
        });
      const session_id = await sessions.findSessionId(browser.refresh_token);
      if (!session_id) throw new ApiError('unauthenticated', 'the refresh token is not valid any more; log in again');
      refuseForgery(session_id, browser);
      return inCookies(await sessions.refreshSession(browser.refresh_token, ip), session_id);
    },
  };
}
