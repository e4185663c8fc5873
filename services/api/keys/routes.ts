/** Routes of the keys of devices: published, claimed, audited. The server hands keys on and never interprets them. */
import type { Logger } from 'pino';
import type { AttemptLimits } from '../../../shared/auth/attempt-limits.ts';
import type { Config } from '../../../shared/config/index.ts';
import { DEFAULT_KIND } from '../../../shared/contract/http/keys.ts';
import type { Database } from '../../../shared/db/database.ts';
import { isTransient } from '../../../shared/transient.ts';
import type { Accounts } from '../accounts/store.ts';
import type { ChangeNotifier } from '../devices/change-notifier.ts';
import { noSuchPerson, signedOut } from '../http/errors.ts';
import { numberCursor, paginate } from '../http/pagination.ts';
import type { HandlersOf } from '../http/router.ts';
import { backupRoutes } from './backup-routes.ts';
import {
  addPrekeys,
  claimPrekeys,
  clearLowPrekeyAlarms,
  putKeys,
  raiseLowPrekeyAlarms,
  readKeyLog,
  readKeyStock,
} from './store.ts';

export interface KeyDeps {
  config: Config;
  db: Database;
  accounts: Accounts;
  notifier: ChangeNotifier;
  limits: AttemptLimits;
  log: Logger;
}

export function keyRoutes({ config, db, accounts, notifier, limits, log }: KeyDeps): HandlersOf<'keys'> {
  /** Tells devices through their inboxes that they run low on keys. A device that could not be told is told at the next claim. */
  async function notifyOfLowStock(user_id: string, device_ids: string[], kind: string): Promise<void> {
    const { PREKEYS_LOW: low, PREKEYS_LOW_AGAIN_SEC: again_sec } = config;
    const alarms = await raiseLowPrekeyAlarms(db.query, { device_ids, kind, low, again_sec });
    const notified = await Promise.all(
      alarms.map(({ device_id, count }) => notifier.notifyKeysLow(user_id, device_id, { kind, count })),
    );
    for (const [i, { device_id }] of alarms.entries())
      if (!notified[i]) await clearLowPrekeyAlarms(db.query, device_id, [kind]);
  }

  return {
    ...backupRoutes({ config, db }),

    async 'keys.publish'({ me, body }) {
      if (!(await putKeys(db, me.device_id, body))) throw signedOut();
      void notifier.announceChange(me.user_id);
      const device = await accounts.findDevice(me.device_id);
      if (!device) throw signedOut();
      return { status: 200, data: device };
    },

    async 'keys.prekeys.add'({ me, body }) {
      const stock = await addPrekeys(db, me.device_id, body, config.PREKEYS_MAX);
      const refilled = Object.entries(stock.kinds).flatMap(([kind, n]) => (n > config.PREKEYS_LOW ? [kind] : []));
      if (refilled.length) await clearLowPrekeyAlarms(db.query, me.device_id, refilled);
      return { status: 200, data: stock };
    },

    async 'keys.prekeys.count'({ me }) {
      return { status: 200, data: await readKeyStock(db.query, me.device_id) };
    },

    async 'keys.prekeys.claim'({ me, id, body: { device_ids, kind = DEFAULT_KIND } }) {
      if (!(await accounts.findUser(id))) throw noSuchPerson();
      await limits.takeKeyClaim(me.user_id, id);
      const devices = await claimPrekeys(db.query, { user_id: id, by_device: me.device_id, device_ids, kind });
      const claimed = devices.map(({ device_id }) => device_id);
      // The keys are used up now: the caller gets them even if the notice fails.
      notifyOfLowStock(id, claimed, kind).catch((error: unknown) => {
        if (!isTransient(error)) log.error({ unit: 'keys', err: error });
      });
      return { status: 200, data: { devices } };
    },

    async 'keys.log.list'({ id, query: { limit = 50, cursor, after = 0 } }) {
      if (!(await accounts.findUser(id))) throw noSuchPerson();
      const links = await readKeyLog(db.query, id, numberCursor.decode(cursor) ?? after, limit + 1);
      return { status: 200, data: paginate(links, limit, ({ n }) => numberCursor.encode(n)) };
    },
  };
}
