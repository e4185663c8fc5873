/**
 * Creates accounts by the thousand: rows straight into Postgres and tokens signed with the system's own key, because
 * registering them would spend seconds on hashing passwords.
 */
import type { SessionData } from '../client/session.ts';
import { openTokens } from '../shared/auth/tokens.ts';
import type { Config } from '../shared/config/index.ts';
import type { Database } from '../shared/db/database.ts';
import { uuid7 } from '../shared/ids.ts';

export type Account = SessionData;

/** Accounts that one transaction inserts. */
const BATCH = 1_000;
/** Account numbers have 8 digits. */
const FIRST_NUMBER = 10_000_000;

/** Creates accounts with one device and one session each. */
export async function createAccounts(db: Database, config: Config, api: string, count: number): Promise<Account[]> {
  const tokens = openTokens(db, config);
  const [{ existing }] = (await db.query<{ existing: number }>('select count(*) as existing from users')) as [
    { existing: number },
  ];
  const accounts: Account[] = [];
  for (let from = 0; from < count; from += BATCH) {
    const batch = Array.from({ length: Math.min(BATCH, count - from) }, (_, i) => ({
      number: String(FIRST_NUMBER + existing + from + i),
      user_id: uuid7(),
      device_id: uuid7(),
      session_id: uuid7(),
    }));
    const users = batch.map(({ user_id }) => user_id);
    const devices = batch.map(({ device_id }) => device_id);
    await db.transaction(async ({ query }) => {
      await query('insert into users (id, number) select * from unnest($1::uuid[], $2::text[])', [
        users,
        batch.map(({ number }) => number),
      ]);
      await query(
        `insert into devices (id, user_id, name, platform)
         select d, u, 'bench', 'bench' from unnest($1::uuid[], $2::uuid[]) as r(d, u)`,
        [devices, users],
      );
      await query(
        `insert into sessions (id, user_id, device_id, last_used_at)
         select s, u, d, now() from unnest($1::uuid[], $2::uuid[], $3::uuid[]) as r(s, u, d)`,
        [batch.map(({ session_id }) => session_id), users, devices],
      );
    });
    for (const { user_id, device_id, session_id } of batch) {
      const { access_token } = await tokens.issue({ user_id, device_id, session_id });
      accounts.push({ api, user: { id: user_id }, device: { id: device_id }, access_token });
    }
  }
  return accounts;
}

/** Creates accounts for the bare relay only, which takes the ids of user and device from the token itself. */
export function createRelayAccounts(count: number): Account[] {
  return Array.from({ length: count }, () => {
    const user = uuid7();
    const device = uuid7();
    return { api: 'http://127.0.0.1:9', user: { id: user }, device: { id: device }, access_token: `${user}:${device}` };
  });
}
