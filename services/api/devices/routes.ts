/** Devices over HTTP: mine to manage, everybody's to seal for. */
import { ApiError } from '../../../shared/contract/errors.ts';
import type { Device, PublicDevice } from '../../../shared/contract/objects.ts';
import type { Database } from '../../../shared/db/database.ts';
import type { Accounts } from '../accounts/store.ts';
import { decodeCursor, encodeCursor } from '../http/pagination.ts';
import type { HandlersOf } from '../http/router.ts';
import type { ChangeNotifier } from './change-notifier.ts';
import { type MyDeviceRow, patchDevice, readMyDevices, removeDevice, toMyDevice } from './store.ts';

export interface DeviceDeps {
  db: Database;
  accounts: Accounts;
  announcer: ChangeNotifier;
}

const toPublic = ({ id, user_id, identity_key, signing_key, registration_id }: Device): PublicDevice => ({
  id,
  user_id,
  ...(identity_key !== undefined && { identity_key }),
  ...(signing_key !== undefined && { signing_key }),
  ...(registration_id !== undefined && { registration_id }),
});
const notMine = (): ApiError => new ApiError('not_found', 'you have no such device');

export function devices({ db, accounts, announcer }: DeviceDeps): HandlersOf<'devices'> {
  function paged<R extends { id: string }, T>(found: R[], limit: number, show: (row: R) => T) {
    const rows = found.slice(0, limit);
    return { items: rows.map(show), next_cursor: found.length > limit ? encodeCursor(rows.at(-1)!.id) : null };
  }
  const after = (cursor: string | undefined): string | undefined =>
    cursor === undefined ? undefined : decodeCursor(cursor);

  return {
    async 'devices.listOfUser'({ me, id, query: { limit = 50, cursor } }) {
      const [user, found] = await Promise.all([accounts.user(id), accounts.devices(id, after(cursor), limit + 1)]);
      if (!user) throw new ApiError('not_found', 'there is no such person');
      return {
        status: 200,
        data: paged<Device, Device | PublicDevice>(found, limit, id === me.user_id ? (device) => device : toPublic),
      };
    },

    async 'devices.list'({ me, query: { limit = 50, cursor } }) {
      const found = await readMyDevices(db.em(), me.user_id, after(cursor), limit + 1);
      return { status: 200, data: paged(found, limit, (row: MyDeviceRow) => toMyDevice(row, me.device_id)) };
    },

    async 'devices.update'({ me, id, body }) {
      const row = await patchDevice(db, me.user_id, id, body);
      if (!row) throw notMine();
      return { status: 200, data: toMyDevice(row, me.device_id) };
    },

    async 'devices.delete'({ me, id }) {
      const ended = await db.transaction((tx) => removeDevice(tx, me.user_id, id));
      if (!ended) throw notMine();
      await announcer.changed(me.user_id, { removed: [id], ended });
      return { status: 200, data: { id } };
    },
  };
}
