/** Keys of devices over HTTP: published, handed out, backed up, audited. Opaque to the server. */
import type { Logger } from 'pino';
import type { Limits } from '../../../shared/auth/attempt-limits.ts';
import type { Config } from '../../../shared/config/index.ts';
import { ApiError } from '../../../shared/contract/errors.ts';
import { DEFAULT_KIND, type KeyStock } from '../../../shared/contract/http/keys.ts';
import type { Database } from '../../../shared/db/database.ts';
import { isTransient } from '../../../shared/transient.ts';
import type { Accounts } from '../accounts/store.ts';
import type { ChangeNotifier } from '../devices/change-notifier.ts';
import type { HandlersOf } from '../http/router.ts';
import { putBackup, readBackup, removeBackup } from './backup-store.ts';
import { addPrekeys, calm, claim, putKeys, readKeyLog, runningLow, stockOf } from './store.ts';

export interface KeyDeps {
  config: Config;
  db: Database;
  accounts: Accounts;
  announcer: ChangeNotifier;
  limits: Limits;
  log: Logger;
}

const gone = (): ApiError => new ApiError('unauthenticated', 'this device is gone; log in again');
const noBackup = (): ApiError => new ApiError('not_found', 'there is no backup');

export function keys({ config, db, accounts, announcer, limits, log }: KeyDeps): HandlersOf<'keys'> {
  /** Devices whose keys of a kind run low hear of it, through their inbox; who could not be told, at the next claim. */
  async function warn(user_id: string, device_ids: string[], kind: string): Promise<void> {
    const { PREKEYS_LOW: low, PREKEYS_LOW_AGAIN_SEC: again_sec } = config;
    const few = await runningLow(db.query, { device_ids, kind, low, again_sec });
    const told = await Promise.all(
      few.map(({ device_id, count }) => announcer.low(user_id, device_id, { kind, count })),
    );
    for (const [i, { device_id }] of few.entries()) if (!told[i]) await calm(db.query, device_id, [kind]);
  }

  return {
    async 'keys.publish'({ me, body }) {
      if (!(await putKeys(db, me.device_id, body))) throw gone();
      void announcer.changed(me.user_id);
      const device = await accounts.device(me.device_id);
      if (!device) throw gone();
      return { status: 200, data: device };
    },

    async 'keys.prekeys.add'({ me, body }) {
      const data: KeyStock = await addPrekeys(db, me.device_id, body, config.PREKEYS_MAX);
      const enough = Object.entries(data.kinds).flatMap(([kind, n]) => (n > config.PREKEYS_LOW ? [kind] : []));
      if (enough.length) await calm(db.query, me.device_id, enough);
      return { status: 200, data };
    },

    async 'keys.prekeys.count'({ me }) {
      return { status: 200, data: await stockOf(db.query, me.device_id) };
    },

    async 'keys.prekeys.claim'({ me, id, body: { device_ids, kind = DEFAULT_KIND } }) {
      if (!(await accounts.user(id))) throw new ApiError('not_found', 'there is no such person');
      await limits.claim(me.user_id, id);
      const devices = await claim(db.query, { user_id: id, by_device: me.device_id, device_ids, kind });
      const claimed = devices.map(({ device_id }) => device_id);
      // The keys are taken: whoever asked gets them now, whatever becomes of the warning.
      warn(id, claimed, kind).catch((error: unknown) => {
        if (!isTransient(error)) log.error({ unit: 'keys', err: error });
      });
      return { status: 200, data: { devices } };
    },

    async 'keys.log.list'({ id, query: { limit = 50, cursor, after = 0 } }) {
      if (!(await accounts.user(id))) throw new ApiError('not_found', 'there is no such person');
      const found = await readKeyLog(db.query, id, cursor === undefined ? after : place(cursor), limit + 1);
      const items = found.slice(0, limit);
      return { status: 200, data: { items, next_cursor: found.length > limit ? String(items.at(-1)!.n) : null } };
    },

    async 'keys.backup.put'({ me, body: { data, if_version } }) {
      const limit = config.KEY_BACKUP_MAX_BYTES;
      if (Buffer.byteLength(data) > limit)
        throw new ApiError('too_large', `a backup may have ${limit} bytes`, { details: { limit } });
      const put = await putBackup(db.query, me.user_id, data, if_version);
      if (!put) throw new ApiError('conflict', 'the backup has another version', { details: { field: 'if_version' } });
      return { status: 200, data: { version: put.version, updated_at: put.updated_at.toISOString() } };
    },

    async 'keys.backup.get'({ me }) {
      const found = await readBackup(db.em(), me.user_id);
      if (!found) throw noBackup();
      return { status: 200, data: { ...found, updated_at: found.updated_at.toISOString() } };
    },

    async 'keys.backup.delete'({ me }) {
      const version = await removeBackup(db, me.user_id);
      if (version === undefined) throw noBackup();
      return { status: 200, data: { version } };
    },
  };
}

function place(cursor: string): number {
  if (!/^\d{1,9}$/.test(cursor))
    throw new ApiError('invalid_request', 'query: cursor is none that was given out', { details: { field: 'cursor' } });
  return Number(cursor);
}
