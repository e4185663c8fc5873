/** Routes of push targets: where a device of mine is woken, and until when it is muted. */
import { vapidKeys } from '../../../shared/auth/vapid.ts';
import type { Config } from '../../../shared/config/index.ts';
import { ApiError } from '../../../shared/contract/errors.ts';
import type { Database } from '../../../shared/db/database.ts';
import { noSuchDevice } from '../http/errors.ts';
import type { HandlersOf } from '../http/router.ts';
import { type PushSettings, readPushSettings, writePushSettings } from './store.ts';
import { toPushTarget } from './target.ts';

export function pushRoutes({ config, db }: { config: Config; db: Database }): HandlersOf<'push'> {
  async function readSettings(user_id: string, device_id: string): Promise<PushSettings> {
    const settings = await readPushSettings(db, user_id, device_id);
    if (!settings) throw noSuchDevice();
    return settings;
  }

  return {
    async 'push.targets.put'({ me: { user_id }, id, body: { muted_until = null, ...fields } }) {
      const target = toPushTarget(fields, config);
      if (muted_until !== null && Number.isNaN(Date.parse(muted_until)))
        throw new ApiError('invalid_request', 'body: muted_until must be an RFC 3339 time in UTC', {
          details: { field: 'muted_until' },
        });
      if (!(await writePushSettings(db, user_id, id, { target, muted_until }))) throw noSuchDevice();
      return { status: 200, data: await readSettings(user_id, id) };
    },

    async 'push.targets.get'({ me, id }) {
      return { status: 200, data: await readSettings(me.user_id, id) };
    },

    async 'push.key.get'() {
      return { status: 200, data: { public_key: (await vapidKeys(db, config)).public_key } };
    },
  };
}
