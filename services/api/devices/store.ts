/** Devices of one person as they stand in Postgres. */
import { endSessions } from '../../../shared/auth/sessions.ts';
import { ApiError } from '../../../shared/contract/errors.ts';
import type { MyDevice, PatchDeviceBody } from '../../../shared/contract/http/devices.ts';
import type { Query } from '../../../shared/db/database.ts';
import type { Device as DeviceRow } from '../../../shared/db/entities.ts';
import type { Ended, PersonEvent } from '../../../shared/pipeline/person-event.ts';
import { toDevice } from '../accounts/store.ts';

export type MyDeviceRow = DeviceRow;

export const toMyDevice = (row: MyDeviceRow, current: string): MyDevice => ({
  ...toDevice(row),
  current: row.id === current,
  ...(row.push && { push_provider: row.push.provider }),
});

export function readMyDevices(
  query: Query,
  user_id: string,
  after: string | undefined,
  limit: number,
): Promise<MyDeviceRow[]> {
  return query<MyDeviceRow>(
    `select * from devices where user_id = $1 and deleted_at is null and ($2::uuid is null or id > $2)
     order by id limit $3`,
    [user_id, after ?? null, limit],
  );
}

export async function patchDevice(
  query: Query,
  user_id: string,
  id: string,
  { name, platform }: PatchDeviceBody,
): Promise<MyDeviceRow | undefined> {
  const [row] = await query<MyDeviceRow>(
    `update devices set name = coalesce($3, name), platform = coalesce($4, platform)
     where id = $1 and user_id = $2 and deleted_at is null returning *`,
    [id, user_id, name ?? null, platform ?? null],
  );
  return row;
}

/**
 * Inside a transaction that holds the person's row, so that log-ins at the same time count each other's devices.
 * @throws {ApiError} `conflict` when the person has `max` devices: its details name the one that was unused for longest.
 */
export async function refuseTooMany(query: Query, user_id: string, max: number): Promise<void> {
  const [row] = await query<{ device_id: string; last_seen: Date | null; devices: number }>(
    `select d.id as device_id, count(*) over () as devices,
       greatest(d.last_seen, (select max(s.last_used_at) from sessions s where s.device_id = d.id),
         (select c.updated_at from device_cursors c where c.device_id = d.id)) as last_seen
     from devices d where d.user_id = $1 and d.deleted_at is null order by 3 nulls first, 1 limit 1`,
    [user_id],
  );
  if (!row || row.devices < max) return;
  const { device_id, last_seen } = row;
  throw new ApiError(
    'conflict',
    `device: an account has at most ${max}; log in with the id of one, or delete one first`,
    {
      details: { field: 'device', limit: max, device_id, last_seen: last_seen?.toISOString() ?? null },
    },
  );
}

/**
 * Takes away a device with all that is its own, inside a transaction; its queue goes when fanout hears of it.
 * @returns the sessions that ended by that; undefined when the person has no such device.
 */
export async function removeDevice(query: Query, user_id: string, id: string): Promise<Ended[] | undefined> {
  const [row] = await query(
    `update devices set deleted_at = now(), push = null, identity_key = null, signing_key = null, registration_id = null
     where id = $1 and user_id = $2 and deleted_at is null returning id`,
    [id, user_id],
  );
  if (!row) return undefined;
  const ended = await endSessions(query, user_id, 'device', { device: id });
  await query('delete from refresh_tokens r using sessions s where s.id = r.session_id and s.device_id = $1', [id]);
  for (const table of ['ws_tickets', 'prekeys', 'prekey_alarms', 'device_cursors', 'push_states', 'device_presence'])
    await query(`delete from ${table} where device_id = $1`, [id]);
  return ended;
}

export async function hasDevice(query: Query, user_id: string, id: string): Promise<boolean> {
  const sql = 'select 1 from devices where id = $1 and user_id = $2 and deleted_at is null';
  return (await query(sql, [id, user_id])).length > 0;
}

/** All devices of a person, their sessions, and the backup of their keys, inside a transaction. */
export async function removeDevices(query: Query, user_id: string): Promise<Required<PersonEvent>> {
  const devices = await query<{ id: string }>(
    'select id from devices where user_id = $1 and deleted_at is null order by id for no key update',
    [user_id],
  );
  const ended: Ended[] = [];
  for (const { id } of devices) ended.push(...((await removeDevice(query, user_id, id)) ?? []));
  await query('delete from key_backups where user_id = $1', [user_id]);
  return { removed: devices.map(({ id }) => id), ended };
}
