/** Accounts by the thousand: rows straight into Postgres and tokens signed with the system's own key, because hashing passwords takes seconds. */
import type { SessionData } from '../client/session.ts';
import { openTokens } from '../shared/auth/tokens.ts';
import type { Config } from '../shared/config/index.ts';
import type { Database } from '../shared/db/database.ts';
import { uuid7 } from '../shared/ids.ts';

export type Account = SessionData;

const AT_ONCE = 1_000;
/** Account numbers have 8 digits. */
const FIRST_NUMBER = 10_000_000;

/** One person with one device and one session each. */
export async function makeAccounts(db: Database, config: Config, api: string, count: number): Promise<Account[]> {
  const tokens = openTokens(db, config);
  const [{ made }] = (await db.query<{ made: number }>('select count(*) as made from users')) as [{ made: number }];
  const out: Account[] = [];
  for (let from = 0; from < count; from += AT_ONCE) {
    const some = Array.from({ length: Math.min(AT_ONCE, count - from) }, (_, i) => ({
      number: String(FIRST_NUMBER + made + from + i),
      user_id: uuid7(),
      device_id: uuid7(),
      session_id: uuid7(),
    }));
    const users = some.map(({ user_id }) => user_id);
    const devices = some.map(({ device_id }) => device_id);
    await db.transaction(async ({ query }) => {
      await query('insert into users (id, number) select * from unnest($1::uuid[], $2::text[])', [
        users,
        some.map(({ number }) => number),
      ]);
      await query(
        `insert into devices (id, user_id, name, platform)
         select d, u, 'bench', 'bench' from unnest($1::uuid[], $2::uuid[]) as r(d, u)`,
        [devices, users],
      );
      await query(
        `insert into sessions (id, user_id, device_id, last_used_at)
         select s, u, d, now() from unnest($1::uuid[], $2::uuid[], $3::uuid[]) as r(s, u, d)`,
        [some.map(({ session_id }) => session_id), users, devices],
      );
    });
    for (const { user_id, device_id, session_id } of some) {
      const { access_token } = await tokens.issue({ user_id, device_id, session_id });
      out.push({ api, user: { id: user_id }, device: { id: device_id }, access_token });
    }
  }
  return out;
}

/** People that only the bare relay knows: it takes any token, which says who it is. */
export function inventAccounts(count: number): Account[] {
  return Array.from({ length: count }, () => {
    const user = uuid7();
    const device = uuid7();
    return { api: 'http://127.0.0.1:9', user: { id: user }, device: { id: device }, access_token: `${user}:${device}` };
  });
}
