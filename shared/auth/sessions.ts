/**
 * Starts, refreshes and ends sessions. A session is the family of its refresh tokens: one of them is valid at a time, and using
 * one for the second time ends the session (RFC 9700 §4.14.2), because then two parties have it. The second use is accepted
 * within REFRESH_RETRY_SEC: the reply with the successor may have been lost.
 */
import { sql } from '@mikro-orm/core';
import type { Config } from '../config/index.ts';
import { ApiError } from '../contract/errors.ts';
import type { TokenPair } from '../contract/http/auth.ts';
import type { Database, Query, Transaction } from '../db/database.ts';
import { Session } from '../db/entities.ts';
import { uuid7 } from '../ids.ts';
import type { Ended } from '../pipeline/person-event.ts';
import { hashSecret, newSecret } from './secrets.ts';
import type { TokenHolder, Tokens } from './tokens.ts';

/** Used refresh tokens are kept this long for reuse detection. */
const KEEP_USED_DAYS = 7;

interface FoundToken extends TokenHolder {
  is_unused: boolean;
  /** Used so short a time ago that the client may not have received the successor. */
  is_retry: boolean;
  /** Neither the token has expired nor session, device or account have ended. */
  is_live: boolean;
}

export interface StartedSession {
  holder: TokenHolder;
  refresh_token: string;
  /** Earlier sessions of the same device, to be announced after the commit. */
  ended: Ended[];
  /** Whether the device is new. */
  added?: boolean;
}
export interface Sessions {
  /** Starts a session in the caller's transaction, and ends earlier ones of the device. `ip`: address of the client. */
  startSession(tx: Transaction, user_id: string, device_id: string, ip: string): Promise<StartedSession>;
  /** Exchanges a refresh token for a new pair. @throws {ApiError} `unauthenticated`: the person has to log in again */
  refreshSession(refresh_token: string, ip: string): Promise<TokenPair>;
  /** Finds the session of a refresh token, also of one that was used or has expired. */
  findSessionId(refresh_token: string): Promise<string | undefined>;
}
/** Announces ended sessions to every process. Call after the commit: before it, the processes would still find them open. */
type AnnounceEnded = (user_id: string, ended?: Ended[]) => void;

/** Ends open sessions of a person: all, only one, all except one, or those of a device. @returns the ended sessions */
export async function endSessions(
  query: Query,
  user_id: string,
  why: 'logout' | 'replaced' | 'reuse' | 'revoked' | 'password' | 'device' | 'account' | 'suspended',
  which: { only?: string; except?: string; device?: string } = {},
): Promise<Ended[]> {
  return await query<Ended>(
    `update sessions set revoked_at = now(), revoked_why = $2 where user_id = $1 and revoked_at is null
       and ($3::uuid is null or id = $3) and ($4::uuid is null or id <> $4) and ($5::uuid is null or device_id = $5)
     returning id as session_id, device_id`,
    [user_id, why, which.only ?? null, which.except ?? null, which.device ?? null],
  );
}

async function addRefreshToken(query: Query, config: Config, session_id: string): Promise<string> {
  const token = newSecret();
  await query(
    'insert into refresh_tokens (hash, session_id, expires_at) values ($1, $2, now() + make_interval(days => $3))',
    [hashSecret(token), session_id, config.REFRESH_TOKEN_EXPIRE_DAYS],
  );
  return token;
}

async function findToken(query: Query, config: Config, hash: Buffer): Promise<FoundToken | undefined> {
  const [found] = await query<FoundToken>(
    `select s.user_id, s.device_id, s.id as session_id, r.used_at is null as is_unused,
       r.used_at > now() - make_interval(secs => $2) as is_retry,
       s.revoked_at is null and d.deleted_at is null and u.deleted_at is null
         and u.suspended_at is null and r.expires_at > now() as is_live
     from refresh_tokens r join sessions s on s.id = r.session_id
       join devices d on d.id = s.device_id join users u on u.id = s.user_id
     where r.hash = $1`,
    [hash, config.REFRESH_RETRY_SEC],
  );
  return found;
}

export function openSessions(db: Database, config: Config, tokens: Tokens, announce: AnnounceEnded): Sessions {
  return {
    async startSession({ em, query }, user_id, device_id, ip) {
      const session_id = uuid7();
      const ended = await endSessions(query, user_id, 'replaced', { device: device_id });
      await em.insert(Session, { id: session_id, user_id, device_id, ip, last_used_at: sql.now() });
      return {
        holder: { user_id, device_id, session_id },
        refresh_token: await addRefreshToken(query, config, session_id),
        ended,
      };
    },

    async findSessionId(refresh_token) {
      const [row] = await db.query<{ session_id: string }>('select session_id from refresh_tokens where hash = $1', [
        hashSecret(refresh_token),
      ]);
      return row?.session_id;
    },

    async refreshSession(refresh_token, ip) {
      let reused: { user_id: string; ended: Ended[] } | undefined;
      const hash = hashSecret(refresh_token);
      const next = await db.transaction(async ({ query }) => {
        // A second request with the same token waits here, and then finds the token used.
        await query(
          'select 1 from sessions where id = (select session_id from refresh_tokens where hash = $1) for update',
          [hash],
        );
        const found = await findToken(query, config, hash);
        if (!found?.is_live) return undefined;
        const { session_id } = found;
        if (!found.is_unused && !found.is_retry) {
          const { user_id } = found;
          reused = { user_id, ended: await endSessions(query, user_id, 'reuse', { only: session_id }) };
          return undefined;
        }
        await query(
          `with used as (update refresh_tokens set used_at = now() where session_id = $1 and used_at is null),
             forgotten as (delete from refresh_tokens
               where session_id = $1 and used_at < now() - make_interval(days => $2))
           update sessions set last_used_at = now(), ip = $3::inet where id = $1`,
          [session_id, KEEP_USED_DAYS, ip],
        );
        return { holder: found as TokenHolder, refresh_token: await addRefreshToken(query, config, session_id) };
      });
      if (reused) announce(reused.user_id, reused.ended);
      if (!next) throw new ApiError('unauthenticated', 'the refresh token is not valid any more; log in again');
      return { ...(await tokens.issue(next.holder)), refresh_token: next.refresh_token };
    },
  };
}
