/** Sessions as their owner sees and ends them. */
import { type Announce, endSessions } from '../../../shared/auth/sessions.ts';
import { ApiError } from '../../../shared/contract/errors.ts';
import type { Session } from '../../../shared/contract/http/sessions.ts';
import type { Database } from '../../../shared/db/database.ts';
import { decodeCursor, encodeCursor } from '../http/pagination.ts';
import type { HandlersOf } from '../http/router.ts';
import type { Entering } from './token-response.ts';

interface Row {
  id: string;
  device: Session['device'];
  ip: string | null;
  created_at: Date;
  last_used_at: Date | null;
}

interface Deps {
  db: Database;
  entering: Entering;
  announce: Announce;
}

export function sessionRoutes({ db, entering, announce }: Deps): HandlersOf<'sessions'> {
  type Why = Parameters<typeof endSessions>[2];
  async function end(user_id: string, why: Why, which: Parameters<typeof endSessions>[3]): Promise<number> {
    const ended = await endSessions(db.query, user_id, why, which);
    if (ended.length) announce(user_id, ended);
    return ended.length;
  }

  return {
    async 'sessions.logout'({ me, browser }) {
      const cookies = browser.csrf_token || browser.refresh_token ? entering.forget() : undefined;
      return {
        ...(cookies && { cookies }),
        status: 200,
        data: { revoked: await end(me.user_id, 'logout', { only: me.session_id }) },
      };
    },
    async 'sessions.logoutAll'({ me }) {
      return { status: 200, data: { revoked: await end(me.user_id, 'logout', {}) } };
    },
    async 'sessions.endOthers'({ me }) {
      return { status: 200, data: { revoked: await end(me.user_id, 'revoked', { except: me.session_id }) } };
    },
    async 'sessions.end'({ me, id }) {
      const revoked = await end(me.user_id, 'revoked', { only: id });
      if (!revoked) throw new ApiError('not_found', 'you have no such session');
      return { status: 200, data: { revoked } };
    },

    async 'sessions.list'({ me, query: { limit = 50, cursor } }) {
      const rows = await db.query<Row>(
        `select s.id, json_build_object('id', d.id, 'name', d.name, 'platform', d.platform) as device,
           host(s.ip) as ip, s.created_at, s.last_used_at
         from sessions s join devices d on d.id = s.device_id
         where s.user_id = $1 and s.revoked_at is null and d.deleted_at is null and ($2::uuid is null or s.id < $2)
           and exists (select 1 from refresh_tokens r where r.session_id = s.id and r.expires_at > now())
         order by s.id desc limit $3`,
        [me.user_id, cursor === undefined ? null : decodeCursor(cursor), limit + 1],
      );
      const items = rows.slice(0, limit).map(({ last_used_at, created_at, ...row }) => ({
        ...row,
        current: row.id === me.session_id,
        created_at: created_at.toISOString(),
        last_seen: last_used_at?.toISOString() ?? null,
      }));
      return {
        status: 200,
        data: { items, next_cursor: rows.length > limit ? encodeCursor(items.at(-1)!.id) : null },
      };
    },
  };
}
