/** Push targets of devices, and until when a device is muted, as Postgres holds them. */
import type { Provider, PushTarget } from '../../../shared/contract/http/push.ts';
import type { Database } from '../../../shared/db/database.ts';

export interface PushSettings {
  device_id: string;
  provider: 'none' | Provider;
  muted_until: string | null;
}

/** @returns undefined when the person has no such device. */
export async function readPushSettings(
  db: Database,
  user_id: string,
  device_id: string,
): Promise<PushSettings | undefined> {
  const [row] = await db.query<{ provider: Provider | null; muted_until: Date | null }>(
    `select d.push->>'provider' as provider, s.muted_until from devices d
     left join push_states s on s.device_id = d.id
     where d.id = $1 and d.user_id = $2 and d.deleted_at is null`,
    [device_id, user_id],
  );
  if (!row) return undefined;
  const isMuted = row.muted_until !== null && row.muted_until.getTime() > Date.now();
  return { device_id, provider: row.provider ?? 'none', muted_until: isMuted ? row.muted_until!.toISOString() : null };
}

/** @returns false when the person has no such device. */
export function writePushSettings(
  db: Database,
  user_id: string,
  device_id: string,
  { target, muted_until }: { target: PushTarget | null; muted_until: string | null },
): Promise<boolean> {
  return db.transaction(async ({ query }) => {
    // A deletion of the device at the same time waits for this lock, and then removes the new target as well.
    const [device] = await query(
      'select 1 from devices where id = $1 and user_id = $2 and deleted_at is null for no key update',
      [device_id, user_id],
    );
    if (!device) return false;
    const changed = await query(
      `update devices set push = $2::jsonb
       where id = $1 and user_id = $3 and deleted_at is null and push is distinct from $2::jsonb returning id`,
      [device_id, target && JSON.stringify(target), user_id],
    );
    // next_at = now(): the push worker looks at once at a new target, and at a device that is no longer muted.
    await query(
      `insert into push_states as s (device_id, muted_until, next_at) values ($1, $2, now())
       on conflict (device_id) do update set muted_until = excluded.muted_until, tries = 0,
         next_at = case when $3 or s.muted_until > now() then now() else s.next_at end`,
      [device_id, muted_until, changed.length > 0],
    );
    return true;
  });
}
