/** Routes by which people see and end their sessions. */
import { endSessions } from '../../../shared/auth/sessions.ts';
import { ApiError } from '../../../shared/contract/errors.ts';
import type { Session } from '../../../shared/contract/http/sessions.ts';
import type { Database } from '../../../shared/db/database.ts';
import type { PersonEvent } from '../../../shared/pipeline/person-event.ts';
import type { Cookies } from '../http/cookies.ts';
import { idCursor, paginate } from '../http/pagination.ts';
import type { HandlersOf } from '../http/router.ts';

interface Row {
  id: string;
  device: Session['device'];
  ip: string | null;
  created_at: Date;
  last_used_at: Date | null;
}
const LIST = `select s.id, json_build_object('id', d.id, 'name', d.name, 'platform', d.platform) as device,
    host(s.ip) as ip, s.created_at, s.last_used_at
  from sessions s join devices d on d.id = s.device_id
  where s.user_id = $1 and s.revoked_at is null and d.deleted_at is null and ($2::uuid is null or s.id < $2)
    and exists (select 1 from refresh_tokens r where r.session_id = s.id and r.expires_at > now())
  order by s.id desc limit $3`;

const toSession = ({ last_used_at, created_at, ...row }: Row, current: string): Session => ({
  ...row,
  current: row.id === current,
  created_at: created_at.toISOString(),
  last_seen: last_used_at?.toISOString() ?? null,
});

interface Deps {
  db: Database;
  cookies: Cookies;
  announceChange(user_id: string, event: PersonEvent): Promise<void>;
}

export function createSessionRoutes({ db, cookies, announceChange }: Deps): HandlersOf<'sessions'> {
  type Reason = Parameters<typeof endSessions>[2];
  type Selection = Parameters<typeof endSessions>[3];
  /** @returns how many sessions ended. */
  async function end(user_id: string, reason: Reason, which: Selection): Promise<number> {
    const ended = await endSessions(db.query, user_id, reason, which);
    if (ended.length) void announceChange(user_id, { ended });
    return ended.length;
  }

  return {
    async 'sessions.logout'({ me, browser }) {
      const hasCookies = browser.csrf_token || browser.refresh_token;
      return {
        ...(hasCookies && { cookies: cookies.clear() }),
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
      const rows = await db.query<Row>(LIST, [me.user_id, idCursor.decode(cursor) ?? null, limit + 1]);
      const sessions = rows.map((row) => toSession(row, me.session_id));
      return { status: 200, data: paginate(sessions, limit, ({ id }) => idCursor.encode(id)) };
    },
  };
}
