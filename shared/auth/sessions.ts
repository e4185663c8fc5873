/**
 * Sessions and their refresh tokens. A session is the family of its refresh tokens: one is good at a time, showing a
 * used one ends the session (RFC 9700 §4.14.2), unless it comes so soon that the reply with its successor was lost.
 */
import type { Config } from '../config/index.ts';
import { ApiError } from '../contract/errors.ts';
import type { TokenPair } from '../contract/people.ts';
import type { Database, Query } from '../db/database.ts';
import { uuid7 } from '../ids.ts';
import { hashSecret, newSecret } from './secrets.ts';
import type { Holder, Tokens } from './tokens.ts';

/** Used tokens are remembered so long, to notice that one was stolen. */
const REMEMBER_USED_DAYS = 7;

interface Found extends Holder {
  fresh: boolean;
  retry: boolean;
  live: boolean;
}

export interface Sessions {
  /** Inside the caller's transaction; ends earlier sessions of the same device. */
  start(query: Query, user_id: string, device_id: string): Promise<{ holder: Holder; refresh_token: string }>;
  /** @throws {ApiError} `unauthenticated`: log in again. */
  refresh(refresh_token: string): Promise<TokenPair>;
}

export function openSessions(db: Database, config: Config, tokens: Tokens): Sessions {
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
         s.revoked_at is null and d.deleted_at is null and u.deleted_at is null and r.expires_at > now() as live
       from refresh_tokens r join sessions s on s.id = r.session_id
         join devices d on d.id = s.device_id join users u on u.id = s.user_id
       where r.hash = $1`,
      [hash, config.REFRESH_RETRY_SEC],
    );
    return found;
  }

  return {
    async start(query, user_id, device_id) {
      const session_id = uuid7();
      await query(
        `with ended as (update sessions set revoked_at = now(), revoked_why = 'replaced'
           where device_id = $3 and revoked_at is null)
         insert into sessions (id, user_id, device_id, last_used_at) values ($1, $2, $3, now())`,
        [session_id, user_id, device_id],
      );
      return { holder: { user_id, device_id, session_id }, refresh_token: await add(query, session_id) };
    },

    async refresh(refresh_token) {
      const hash = hashSecret(refresh_token);
      const next = await db.transaction(async (query) => {
        // Whoever comes second with the same token waits here and then sees it used.
        await query(
          'select 1 from sessions where id = (select session_id from refresh_tokens where hash = $1) for update',
          [hash],
        );
        const found = await find(query, hash);
        if (!found?.live) return undefined;
        const { session_id } = found;
        if (!found.fresh && !found.retry) {
          await query(`update sessions set revoked_at = now(), revoked_why = 'reuse' where id = $1`, [session_id]);
          return undefined;
        }
        await query(
          `with used as (update refresh_tokens set used_at = now() where session_id = $1 and used_at is null),
             forgotten as (delete from refresh_tokens
               where session_id = $1 and used_at < now() - make_interval(days => $2))
           update sessions set last_used_at = now() where id = $1`,
          [session_id, REMEMBER_USED_DAYS],
        );
        return { holder: found as Holder, refresh_token: await add(query, session_id) };
      });
      if (!next) throw new ApiError('unauthenticated', 'the refresh token is not valid any more; log in again');
      return { ...(await tokens.issue(next.holder)), refresh_token: next.refresh_token };
    },
  };
}
