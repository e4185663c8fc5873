/**
 * Sessions and their refresh tokens. A session is the family of its refresh tokens: one is good at a time, showing a
 * used one ends the session (RFC 9700 §4.14.2), unless it comes so soon that the reply with its successor was lost.
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
import type { Holder, Tokens } from './tokens.ts';

/** Used tokens are remembered so long, to notice that one was stolen. */
const REMEMBER_USED_DAYS = 7;

interface Found extends Holder {
  fresh: boolean;
  retry: boolean;
  live: boolean;
}

export interface Started {
  holder: Holder;
  refresh_token: string;
  /** Earlier sessions of the same device, to be announced after the commit. */
  ended: Ended[];
  /** The device was made for it. */
  added?: boolean;
}
export interface Sessions {
  /** Inside the caller's transaction. `ip` is where the person is. */
  start(tx: Transaction, user_id: string, device_id: string, ip: string): Promise<Started>;
  /** @throws {ApiError} `unauthenticated`: log in again. */
  refresh(refresh_token: string, ip: string): Promise<TokenPair>;
  /** The session of a refresh token, good or not any more. */
  of(refresh_token: string): Promise<string | undefined>;
}
/** Tells every process of a person's ended sessions; after the commit, or they would look too early. */
export type Announce = (user_id: string, ended?: Ended[]) => void;

/** Ends the open sessions of a person: all, that one, all but one, or those of a device. Inside a transaction if need be. */
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

export function openSessions(db: Database, config: Config, tokens: Tokens, announce: Announce): Sessions {
  async function add(query: Query, session_id: string): Promise<string> {
    const token = newSecret();
    await query(
      'insert into refresh_tokens (hash, session_id, expires_at) values ($1, $2, now() + make_interval(days => $3))',
      [hashSecret(token), session_id, config.REFRESH_TOKEN_EXPIRE_DAYS],
    );
    return token;
  }

  async function find(query: Query, hash: Buffer): Promise<Found | undefined> {
    const [found] = await query<Found>(
      `select s.user_id, s.device_id, s.id as session_id, r.used_at is null as fresh,
         r.used_at > now() - make_interval(secs => $2) as retry,
         s.revoked_at is null and d.deleted_at is null and u.deleted_at is null
           and u.suspended_at is null and r.expires_at > now() as live
       from refresh_tokens r join sessions s on s.id = r.session_id
         join devices d on d.id = s.device_id join users u on u.id = s.user_id
       where r.hash = $1`,
      [hash, config.REFRESH_RETRY_SEC],
    );
    return found;
  }

  return {
    async start({ em, query }, user_id, device_id, ip) {
      const session_id = uuid7();
      const ended = await endSessions(query, user_id, 'replaced', { device: device_id });
      await em.insert(Session, { id: session_id, user_id, device_id, ip, last_used_at: sql.now() });
      return { holder: { user_id, device_id, session_id }, refresh_token: await add(query, session_id), ended };
    },

    async of(refresh_token) {
      const [row] = await db.query<{ session_id: string }>('select session_id from refresh_tokens where hash = $1', [
        hashSecret(refresh_token),
      ]);
      return row?.session_id;
    },

    async refresh(refresh_token, ip) {
      let stolen: { user_id: string; ended: Ended[] } | undefined;
      const hash = hashSecret(refresh_token);
      const next = await db.transaction(async ({ query }) => {
        // Whoever comes second with the same token waits here and then sees it used.
        await query(
          'select 1 from sessions where id = (select session_id from refresh_tokens where hash = $1) for update',
          [hash],
        );
        const found = await find(query, hash);
        if (!found?.live) return undefined;
        const { session_id } = found;
        if (!found.fresh && !found.retry) {
          const { user_id } = found;
          stolen = { user_id, ended: await endSessions(query, user_id, 'reuse', { only: session_id }) };
          return undefined;
        }
        await query(
          `with used as (update refresh_tokens set used_at = now() where session_id = $1 and used_at is null),
             forgotten as (delete from refresh_tokens
               where session_id = $1 and used_at < now() - make_interval(days => $2))
           update sessions set last_used_at = now(), ip = $3::inet where id = $1`,
          [session_id, REMEMBER_USED_DAYS, ip],
        );
        return { holder: found as Holder, refresh_token: await add(query, session_id) };
      });
      if (stolen) announce(stolen.user_id, stolen.ended);
      if (!next) throw new ApiError('unauthenticated', 'the refresh token is not valid any more; log in again');
      return { ...(await tokens.issue(next.holder)), refresh_token: next.refresh_token };
    },
  };
}
