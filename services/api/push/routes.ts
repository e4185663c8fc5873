/** Push targets of one's own devices. */
import { vapidKeys } from '../../../shared/auth/vapid.ts';
import type { Config } from '../../../shared/config/index.ts';
import { ApiError } from '../../../shared/contract/errors.ts';
import type { Provider } from '../../../shared/contract/http/push.ts';
import type { Database } from '../../../shared/db/database.ts';
import type { HandlersOf } from '../http/router.ts';
import { targetOf } from './target.ts';

interface Row {
  provider: Provider | null;
  muted_until: Date | null;
}
const notMine = (): ApiError => new ApiError('not_found', 'you have no such device');
const READ = `select d.push->>'provider' as provider, s.muted_until from devices d
  left join push_states s on s.device_id = d.id
  where d.id = $1 and d.user_id = $2 and d.deleted_at is null`;

export function push({ config, db }: { config: Config; db: Database }): HandlersOf<'push'> {
  async function read(device_id: string, user_id: string) {
    const [row] = await db.query<Row>(READ, [device_id, user_id]);
    if (!row) throw notMine();
    const muted_until =
      row.muted_until && row.muted_until.getTime() > Date.now() ? row.muted_until.toISOString() : null;
    return { device_id, provider: row.provider ?? ('none' as const), muted_until };
  }

  return {
    async 'push.targets.put'({ me: { user_id }, id, body: { muted_until, ...rest } }) {
      const target = targetOf(rest, config);
      if (muted_until != null && Number.isNaN(Date.parse(muted_until)))
        throw new ApiError('invalid_request', 'body: muted_until is no time', { details: { field: 'muted_until' } });
      await db.transaction(async ({ query }) => {
        // Who deletes the device waits, and then takes this with it.
        const [device] = await query(
          'select 1 from devices where id = $1 and user_id = $2 and deleted_at is null for no key update',
          [id, user_id],
        );
        if (!device) throw notMine();
        const changed = await query(
          `update devices set push = $2::jsonb
           where id = $1 and user_id = $3 and deleted_at is null and push is distinct from $2::jsonb returning id`,
          [id, target && JSON.stringify(target), user_id],
        );
        // The worker looks at a new target at once, and at one that is no longer muted.
        await query(
          `insert into push_states as s (device_id, muted_until, next_at) values ($1, $2, now())
           on conflict (device_id) do update set muted_until = excluded.muted_until, tries = 0,
             next_at = case when $3 or s.muted_until > now() then now() else s.next_at end`,
          [id, muted_until ?? null, changed.length > 0],
        );
      });
      return { status: 200, data: await read(id, user_id) };
    },

    async 'push.targets.get'({ me, id }) {
      return { status: 200, data: await read(id, me.user_id) };
    },

    async 'push.key.get'() {
      return { status: 200, data: { public_key: (await vapidKeys(db, config)).public_key } };
    },
  };
}
