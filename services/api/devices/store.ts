/** Stores the devices of a person in Postgres. */
import { sql } from '@mikro-orm/core';
import { endSessions } from '../../../shared/auth/sessions.ts';
import { ApiError } from '../../../shared/contract/errors.ts';
import type { MyDevice, PatchDeviceBody } from '../../../shared/contract/http/devices.ts';
import type { Database, EntityManager, Query, Transaction } from '../../../shared/db/database.ts';
import { DELETE_ROWS_OF_DEVICE } from '../../../shared/db/device-tables.ts';
import { Device, type Device as DeviceRow, KeyBackup } from '../../../shared/db/entities.ts';
import type { Ended, PersonEvent } from '../../../shared/pipeline/person-event.ts';
import { toDevice } from '../accounts/public-rows.ts';

type MyDeviceRow = DeviceRow;

export const toMyDevice = (row: MyDeviceRow, current: string): MyDevice => ({
  ...toDevice(row),
  current: row.id === current,
  ...(row.push && { push_provider: row.push.provider }),
});

/** @returns at most `limit` devices of a person in the order of their ids, from behind `after`. */
export function readMyDevices(
  em: EntityManager,
  user_id: string,
  after: string | undefined,
  limit: number,
): Promise<MyDeviceRow[]> {
  return em.find(
    Device,
    { user_id, deleted_at: null, ...(after !== undefined && { id: { $gt: after } }) },
    { orderBy: { id: 'asc' }, limit },
  );
}

/** @returns the device after the change; undefined when the person has no such device. */
export function patchDevice(
  db: Database,
  user_id: string,
  id: string,
  { name, platform }: PatchDeviceBody,
): Promise<MyDeviceRow | undefined> {
  return db.transaction(async ({ em }) => {
    const where = { id, user_id, deleted_at: null };
    // Conditional, since a deletion at the same time empties the name and this must not fill it again. A row lock taken
    // before would hold up the edges, which write cursors of the device.
    const change = { ...(name !== undefined && { name }), ...(platform !== undefined && { platform }) };
    if (!(await em.nativeUpdate(Device, where, change))) return undefined;
    return (await em.findOne(Device, where)) ?? undefined;
  });
}

/**
 * Call in a transaction that has locked the row of the person, so that log-ins at the same time count each other's devices.
 * @throws {ApiError} `conflict` when the person has `max` devices; its details name the one that was unused for longest
 */
export async function refuseTooManyDevices(query: Query, user_id: string, max: number): Promise<void> {
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
 * Removes a device and its rows, and ends its sessions. Its inbox is removed by fanout, when the removal is in the log.
 * @returns the ended sessions; undefined when the person has no such device
 */
export async function removeDevice(
  { em, query }: Transaction,
  user_id: string,
  id: string,
): Promise<Ended[] | undefined> {
  const removed = await em.nativeUpdate(
    Device,
    { id, user_id, deleted_at: null },
    { deleted_at: sql.now(), push: null, identity_key: null, signing_key: null, registration_id: null },
  );
  if (!removed) return undefined;
  const ended = await endSessions(query, user_id, 'device', { device: id });
  await query('delete from refresh_tokens r using sessions s where s.id = r.session_id and s.device_id = $1', [id]);
  for (const statement of DELETE_ROWS_OF_DEVICE) await query(statement, [id]);
  return ended;
}

export async function hasDevice(em: EntityManager, user_id: string, id: string): Promise<boolean> {
  return (await em.count(Device, { id, user_id, deleted_at: null })) > 0;
}

/** Removes all devices of a person, their sessions, and the backup of the keys. */
export async function removeDevices(tx: Transaction, user_id: string): Promise<Required<PersonEvent>> {
  const { em, query } = tx;
  const devices = await query<{ id: string }>(
    'select id from devices where user_id = $1 and deleted_at is null order by id for no key update',
    [user_id],
  );
  const ended: Ended[] = [];
  for (const { id } of devices) ended.push(...((await removeDevice(tx, user_id, id)) ?? []));
  await em.nativeDelete(KeyBackup, { user_id });
  return { removed: devices.map(({ id }) => id), ended };
}
