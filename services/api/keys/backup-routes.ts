/** Routes of the encrypted backup of a person's keys. */
import type { Config } from '../../../shared/config/index.ts';
import { ApiError } from '../../../shared/contract/errors.ts';
import type { Database } from '../../../shared/db/database.ts';
import type { HandlersOf } from '../http/router.ts';
import { putBackup, readBackup, removeBackup } from './backup-store.ts';

const noBackup = (): ApiError => new ApiError('not_found', 'you have no backup');

export function backupRoutes({ config, db }: { config: Config; db: Database }): HandlersOf<'keys.backup'> {
  return {
    async 'keys.backup.put'({ me, body: { data, if_version } }) {
      const limit = config.KEY_BACKUP_MAX_BYTES;
      if (Buffer.byteLength(data) > limit)
        throw new ApiError('too_large', `body: data may have at most ${limit} bytes`, { details: { limit } });
      const stored = await putBackup(db.query, me.user_id, data, if_version);
      if (!stored)
        throw new ApiError('conflict', 'body: if_version is not the version of the backup: read the backup again', {
          details: { field: 'if_version' },
        });
      return { status: 200, data: { version: stored.version, updated_at: stored.updated_at.toISOString() } };
    },

    async 'keys.backup.get'({ me }) {
      const backup = await readBackup(db.em(), me.user_id);
      if (!backup) throw noBackup();
      return { status: 200, data: { ...backup, updated_at: backup.updated_at.toISOString() } };
    },

    async 'keys.backup.delete'({ me }) {
      const version = await removeBackup(db, me.user_id);
      if (version === undefined) throw noBackup();
      return { status: 200, data: { version } };
    },
  };
}
