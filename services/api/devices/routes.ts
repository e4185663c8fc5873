/** Routes of devices: a person manages the own ones, and sees the keys of everybody's. */
import type { Device, PublicDevice } from '../../../shared/contract/objects.ts';
import type { Database } from '../../../shared/db/database.ts';
import type { Accounts } from '../accounts/store.ts';
import { noSuchDevice, noSuchPerson } from '../http/errors.ts';
import { idCursor, paginate } from '../http/pagination.ts';
import type { HandlersOf } from '../http/router.ts';
import type { ChangeNotifier } from './change-notifier.ts';
import { patchDevice, readMyDevices, removeDevice, toMyDevice } from './store.ts';

export interface DeviceDeps {
  db: Database;
  accounts: Accounts;
  notifier: ChangeNotifier;
}

const toPublicDevice = ({ id, user_id, identity_key, signing_key, registration_id }: Device): PublicDevice => ({
  id,
  user_id,
  ...(identity_key !== undefined && { identity_key }),
  ...(signing_key !== undefined && { signing_key }),
  ...(registration_id !== undefined && { registration_id }),
});
const cursorOf = ({ id }: { id: string }): string => idCursor.encode(id);

export function deviceRoutes({ db, accounts, notifier }: DeviceDeps): HandlersOf<'devices'> {
  return {
    async 'devices.listOfUser'({ me, id, query: { limit = 50, cursor } }) {
      const after = idCursor.decode(cursor);
      const [user, found] = await Promise.all([accounts.findUser(id), accounts.listDevices(id, after, limit + 1)]);
      if (!user) throw noSuchPerson();
      const shown: (Device | PublicDevice)[] = id === me.user_id ? found : found.map(toPublicDevice);
      return { status: 200, data: paginate(shown, limit, cursorOf) };
    },

    async 'devices.list'({ me, query: { limit = 50, cursor } }) {
      const rows = await readMyDevices(db.em(), me.user_id, idCursor.decode(cursor), limit + 1);
      const devices = rows.map((row) => toMyDevice(row, me.device_id));
      return { status: 200, data: paginate(devices, limit, cursorOf) };
    },

    async 'devices.update'({ me, id, body }) {
      const row = await patchDevice(db, me.user_id, id, body);
      if (!row) throw noSuchDevice();
      return { status: 200, data: toMyDevice(row, me.device_id) };
    },

    async 'devices.delete'({ me, id }) {
      const ended = await db.transaction((tx) => removeDevice(tx, me.user_id, id));
      if (!ended) throw noSuchDevice();
      await notifier.announceChange(me.user_id, { removed: [id], ended });
      return { status: 200, data: { id } };
    },
  };
}
