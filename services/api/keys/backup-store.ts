/** The one sealed backup of a person's keys. Its version goes on counting when it is removed. */
import type { Query } from '../../../shared/db/database.ts';

interface Version {
  version: number;
  updated_at: Date;
}

/** @returns undefined when there is another version than `if_version`. */
export async function putBackup(
  query: Query,
  user_id: string,
  data: string,
  if_version: number | undefined,
): Promise<Version | undefined> {
  const [row] = await query<Version>(
    `insert into key_backups as b (user_id, data, version)
     select $1, $2, 1 where $3::bigint is null or $3 = 0 or exists (select 1 from key_backups where user_id = $1)
     on conflict (user_id) do update set data = excluded.data, version = b.version + 1, updated_at = now()
       where $3::bigint is null or $3 = case when b.data is null then 0 else b.version end
     returning version, updated_at`,
    [user_id, data, if_version ?? null],
  );
  return row;
}

export async function readBackup(query: Query, user_id: string): Promise<(Version & { data: string }) | undefined> {
  const [row] = await query<Version & { data: string }>(
    'select data, version, updated_at from key_backups where user_id = $1 and data is not null',
    [user_id],
  );
  return row;
}

/** @returns the version after it, undefined when there was none. */
export async function dropBackup(query: Query, user_id: string): Promise<number | undefined> {
  const [row] = await query<{ version: number }>(
    `update key_backups set data = null, version = version + 1, updated_at = now()
     where user_id = $1 and data is not null returning version`,
    [user_id],
  );
  return row?.version;
}
