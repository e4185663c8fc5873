/** Devices with a push target as they stand in Postgres: away or not, woken or not, and when to look again. */
import type { PushTarget } from '../../shared/contract/http/push.ts';
import type { Database } from '../../shared/db/database.ts';
import type { Schedule } from './handle.ts';

export interface Away {
  device_id: string;
  user_id: string;
  cursor: number | null;
  /** When it left; the epoch for one that was never here. */
  since: Date;
}
export interface Due extends Away {
  target: PushTarget | null;
  online: boolean;
  muted_until: Date | null;
  absence: Date | null;
  wakes: number;
  tries: number;
}

const SINCE = `coalesce(p.since, timestamptz 'epoch')`;
/** Leases that ran out are deleted by buryEdges. */
const ONLINE = '(p.edge_id is not null and exists (select 1 from edge_leases l where l.edge_id = p.edge_id))';
const JOINS = `left join device_presence p on p.device_id = d.id
  left join device_cursors c on c.device_id = d.id
  left join push_states s on s.device_id = d.id`;
const AWAY = `select d.id as device_id, d.user_id, c.cursor, ${SINCE} as since from devices d ${JOINS}
  where d.push is not null and d.deleted_at is null and not ${ONLINE}
    and (s.absence is distinct from ${SINCE} or (s.wakes = 0 and s.next_at is null))`;
/** While a claimed device is worked on; whoever dies with it leaves it to the next one. */
const CLAIM = "interval '1 minute'";

/** Devices that nobody has woken since they left, by id. */
export const awayAfter = ({ query }: Database, after: string | undefined, limit: number): Promise<Away[]> =>
  query<Away>(`${AWAY} and ($1::uuid is null or d.id > $1) order by d.id limit $2`, [after ?? null, limit]);

export const awayOf = ({ query }: Database, devices: string[]): Promise<Away[]> =>
  query<Away>(`${AWAY} and d.id = any($1::uuid[])`, [devices]);

/** Those that left within the last `ms`, in case nobody heard it. */
export const awaySince = ({ query }: Database, ms: number): Promise<Away[]> =>
  query<Away>(`${AWAY} and p.edge_id is null and p.since > now() - make_interval(secs => $1)`, [ms / 1_000]);

/** Edges whose lease ran out have left, and so have their devices. */
export async function buryEdges({ query }: Database, leaseMs: number): Promise<void> {
  await query(
    `with gone as (
       delete from edge_leases where seen_at < now() - make_interval(secs => $1) returning edge_id
     ) update device_presence p set edge_id = null, since = now() where p.edge_id in (select edge_id from gone)`,
    [leaseMs / 1_000],
  );
}

/** Something waits for them: a wake-up is due, unless one was sent or is under way in this absence. */
export async function setDue({ query }: Database, devices: Away[]): Promise<void> {
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

/** Takes devices that are due; each to one process. */
export async function claim({ query }: Database, limit: number): Promise<Due[]> {
  const rows = await query<{ device_id: string }>(
    `update push_states s set next_at = now() + ${CLAIM} from (
       select device_id from push_states where next_at <= now() order by next_at limit $1 for update skip locked
     ) due where s.device_id = due.device_id returning s.device_id`,
    [limit],
  );
  if (!rows.length) return [];
  return await query<Due>(
    `select d.id as device_id, d.user_id, case when d.deleted_at is null then d.push end as target, c.cursor,
       ${SINCE} as since, ${ONLINE} as online, s.muted_until, s.absence, s.wakes, s.tries
     from devices d ${JOINS} where d.id = any($1::uuid[])`,
    [rows.map(({ device_id }) => device_id)],
  );
}

/** Nothing is due any more, as if it had never been woken. */
export async function rest({ query }: Database, device_id: string): Promise<void> {
  await query('update push_states set next_at = null, wakes = 0, tries = 0 where device_id = $1', [device_id]);
}

export async function sleepUntil({ query }: Database, device_id: string, at: Date): Promise<void> {
  await query('update push_states set next_at = $2 where device_id = $1', [device_id, at]);
}

export async function setSchedule(
  { query }: Database,
  { device_id, absence }: Due,
  { wakes, tries, in_ms }: Schedule,
  sent: boolean,
): Promise<void> {
  await query(
    `update push_states set wakes = $3, tries = $4, next_at = now() + make_interval(secs => $5),
       woken_at = case when $6 then now() else woken_at end
     where device_id = $1 and absence is not distinct from $2`,
    [device_id, absence, wakes, tries, in_ms === undefined ? null : in_ms / 1_000, sent],
  );
}

/** The provider knows it no more; one that was registered meanwhile stays. */
export async function dropTarget({ query }: Database, { device_id, target }: Due): Promise<void> {
  await query('update devices set push = null where id = $1 and push = $2::jsonb', [device_id, JSON.stringify(target)]);
  await rest({ query } as Database, device_id);
}
