/** Stores the one encrypted backup of a person's keys. Its version goes on counting after a removal. */
import { LockMode, sql } from '@mikro-orm/core';
import type { Database, EntityManager, Query } from '../../../shared/db/database.ts';
import { KeyBackup } from '../../../shared/db/entities.ts';

interface Version {
  version: number;
  updated_at: Date;
}

/**
 * Replaces the backup in one statement, so that of two devices that write at once exactly one finds the version it expects.
 * @returns undefined when the stored version is not `if_version`.
 */
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

export async function readBackup(
  em: EntityManager,
  user_id: string,
): Promise<(Version & { data: string }) | undefined> {
  const backup = await em.findOne(KeyBackup, { user_id, data: { $ne: null } });
  return backup ? { data: backup.data!, version: backup.version, updated_at: backup.updated_at } : undefined;
}

/** @returns the version after the removal; undefined when there was no backup. */
export function removeBackup(db: Database, user_id: string): Promise<number | undefined> {
  return db.transaction(async ({ em }) => {
    const where = { user_id, data: { $ne: null } };
    // The data, which may be large, is not read to be thrown away.
    const fields = ['user_id', 'version'] as const;
    const backup = await em.findOne(KeyBackup, where, { fields, lockMode: LockMode.PESSIMISTIC_WRITE });
    if (!backup) return undefined;
    const version = backup.version + 1;
    await em.nativeUpdate(KeyBackup, { user_id }, { data: null, version, updated_at: sql.now() });
    return version;
  });
}
