/** Finds devices that are away, claims those that are due, and keeps their schedules, in Postgres. */
import type { Database } from '../../shared/db/database.ts';
import type { AwayDevice, DueDevice, WakeSchedule } from './away-device.ts';

const SINCE = `coalesce(p.since, timestamptz 'epoch')`;
/** Expired leases are deleted by expireEdgeLeases. */
const ONLINE = '(p.edge_id is not null and exists (select 1 from edge_leases l where l.edge_id = p.edge_id))';
const JOINS = `left join device_presence p on p.device_id = d.id
  left join device_cursors c on c.device_id = d.id
  left join push_states s on s.device_id = d.id`;
const AWAY = `select d.id as device_id, d.user_id, c.cursor, ${SINCE} as since from devices d ${JOINS}
  where d.push is not null and d.deleted_at is null and not ${ONLINE}
    and (s.absence is distinct from ${SINCE} or (s.wakes = 0 and s.next_at is null))`;
/** A claimed device belongs to its process for this long; when the process dies, another one claims it then. */
const CLAIM = "interval '1 minute'";

/** Returns a page of all devices that are away and were not woken since they left, by id. */
export const findAwayAfter = ({ query }: Database, after: string | undefined, limit: number): Promise<AwayDevice[]> =>
  query<AwayDevice>(`${AWAY} and ($1::uuid is null or d.id > $1) order by d.id limit $2`, [after ?? null, limit]);

/** Returns those of `devices` that are away and were not woken since they left. */
export const findAwayAmong = ({ query }: Database, devices: string[]): Promise<AwayDevice[]> =>
  query<AwayDevice>(`${AWAY} and d.id = any($1::uuid[])`, [devices]);

/** Returns the devices that left within the last `ms`, in case the event was lost. */
export const findLeftWithin = ({ query }: Database, ms: number): Promise<AwayDevice[]> =>
  query<AwayDevice>(`${AWAY} and p.edge_id is null and p.since > now() - make_interval(secs => $1)`, [ms / 1_000]);

/** Deletes the leases of edges that have died, and records that their devices have left. */
export async function expireEdgeLeases({ query }: Database, leaseMs: number): Promise<void> {
  await query(
    `with gone as (
       delete from edge_leases where seen_at < now() - make_interval(secs => $1) returning edge_id
     ) update device_presence p set edge_id = null, since = now() where p.edge_id in (select edge_id from gone)`,
    [leaseMs / 1_000],
  );
}

/** Records that a wake-up is due, unless one was sent or is under way in this absence. */
export async function markDue({ query }: Database, devices: AwayDevice[]): Promise<void> {
  const sorted = [...devices].sort((a, b) => (a.device_id < b.device_id ? -1 : 1));
  await query(
    `insert into push_states as s (device_id, absence, next_at)
     select k.d, k.since, now() from unnest($1::uuid[], $2::timestamptz[]) as k(d, since)
       join devices on devices.id = k.d
     on conflict (device_id) do update set absence = excluded.absence, wakes = 0, tries = 0, next_at = now()
     where s.absence is distinct from excluded.absence or (s.wakes = 0 and s.next_at is null)`,
    [sorted.map(({ device_id }) => device_id), sorted.map(({ since }) => since)],
  );
}

/** Claims devices that are due; each for one process. */
export async function claimDue({ query }: Database, limit: number): Promise<DueDevice[]> {
  const rows = await query<{ device_id: string }>(
    `update push_states s set next_at = now() + ${CLAIM} from (
       select device_id from push_states where next_at <= now() order by next_at limit $1 for update skip locked
     ) due where s.device_id = due.device_id returning s.device_id`,
    [limit],
  );
  if (!rows.length) return [];
  return await query<DueDevice>(
    `select d.id as device_id, d.user_id, case when d.deleted_at is null then d.push end as target, c.cursor,
       ${SINCE} as since, ${ONLINE} as online, s.muted_until, s.absence, s.wakes, s.tries
     from devices d ${JOINS} where d.id = any($1::uuid[])`,
    [rows.map(({ device_id }) => device_id)],
  );
}

/** Records that nothing is due, as if the device had never been woken in this absence. */
export async function clearSchedule({ query }: Database, device_id: string): Promise<void> {
  await query('update push_states set next_at = null, wakes = 0, tries = 0 where device_id = $1', [device_id]);
}

export async function postponeUntil({ query }: Database, device_id: string, at: Date): Promise<void> {
  await query('update push_states set next_at = $2 where device_id = $1', [device_id, at]);
}

/** Saves what follows from an attempt, unless the device has connected and left again meanwhile. */
export async function saveSchedule(
  { query }: Database,
  { device_id, absence }: DueDevice,
  { wakes, tries, in_ms }: WakeSchedule,
  wasSent: boolean,
): Promise<void> {
  await query(
    `update push_states set wakes = $3, tries = $4, next_at = now() + make_interval(secs => $5),
       woken_at = case when $6 then now() else woken_at end
     where device_id = $1 and absence is not distinct from $2`,
    [device_id, absence, wakes, tries, in_ms === undefined ? null : in_ms / 1_000, wasSent],
  );
}

/** Removes a target that the provider does not know any more; one that was registered meanwhile stays. */
export async function removeTarget(db: Database, { device_id, target }: DueDevice): Promise<void> {
  await db.query('update devices set push = null where id = $1 and push = $2::jsonb', [
    device_id,
    JSON.stringify(target),
  ]);
  await clearSchedule(db, device_id);
}
