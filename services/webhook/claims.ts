/**
 * What is due, claimed for this process: a claim moves `next_at` to the claim's end, so what a dead process held is due
 * again then. Every endpoint is looked at for itself, so a backlog of one costs the others nothing.
 */
import type { Database, Query } from '../../shared/db/database.ts';
import { uuid7 } from '../../shared/ids.ts';

export interface Claimed {
  endpoint_id: string;
  event_id: string;
  type: string;
  body: string;
  /** Failed so far. */
  attempts: number;
  claim: string;
  /** Of the endpoint. */
  version: number;
}

/** Endpoints with anything pending, by jumps through the index, and how many more each may have under way. */
const ROOM = `with recursive waiting(id) as (
    (select endpoint_id from webhook_deliveries where status = 'pending' order by endpoint_id limit 1)
    union all
    select (select d.endpoint_id from webhook_deliveries d where d.status = 'pending' and d.endpoint_id > w.id
      order by d.endpoint_id limit 1) from waiting w where w.id is not null
  ), room as materialized (
    select e.id, e.version, coalesce(k.room, 1) as room, coalesce(k.standing, 'fresh') as standing, e.max_per_sec, e.paced_until
    from waiting w join webhook_endpoints e on e.id = w.id
      left join unnest($3::uuid[], $4::int[], $5::text[]) as k(id, room, standing) on k.id = e.id
    where e.enabled and coalesce(k.room, 1) > 0
  )`;
/** In turns by chance: where lanes are short, nobody is always the last. */
const dueOf = (standing: Standing, limit: string): string => `
    select r.version, d.endpoint_id, d.event_id
    from (select * from allowed where standing = '${standing}' order by random()) r cross join lateral (
      select endpoint_id, event_id from webhook_deliveries
      where endpoint_id = r.id and status = 'pending' and next_at <= $1 order by next_at, seq limit r.room
      for update skip locked) d
    limit ${limit}`;
const TAKE = `, well as materialized (${dueOf('well', '$6')}
  ), fresh as materialized (${dueOf('fresh', 'least($8, $6 - (select count(*) from well))')}
  ), ill as materialized (${dueOf('ill', 'least($9, least($8, $6 - (select count(*) from well)) - (select count(*) from fresh))')}
  ), due as (
    select * from well union all select * from fresh union all select * from ill
  ), taken as (
    update webhook_deliveries d set next_at = $2, claim = $7 from due
    where d.endpoint_id = due.endpoint_id and d.event_id = due.event_id
    returning d.endpoint_id, d.event_id, d.attempts, d.seq, due.version
  ), paced as (
    update webhook_endpoints e set paced_until =
      greatest(e.paced_until, $1::timestamptz - make_interval(secs => greatest(0.1, 1.0 / e.max_per_sec)))
        + make_interval(secs => n.count::float8 / e.max_per_sec)
    from (select endpoint_id, count(*) from taken group by 1) n where e.id = n.endpoint_id and e.max_per_sec is not null
  )
  select t.endpoint_id, t.event_id, t.attempts, t.version, v.type, v.body
  from taken t join webhook_events v on v.id = t.event_id order by t.seq`;
/** Those with a rate are locked, so that processes share it: a tenth of a second's worth at a time. */
const ALLOWED = `, limited as (
    select e.id, floor(extract(epoch from $1::timestamptz
      - greatest(e.paced_until, $1::timestamptz - make_interval(secs => greatest(0.1, 1.0 / e.max_per_sec))))
      * e.max_per_sec + 0.001)::int as tokens
    from webhook_endpoints e join room r on r.id = e.id where e.max_per_sec is not null for update of e skip locked
  ), allowed as materialized (
    select r.id, r.version, r.room, r.standing from room r where r.max_per_sec is null
    union all
    select r.id, r.version, least(r.room, l.tokens), r.standing from room r join limited l on l.id = r.id where l.tokens > 0
  )`;

/** What is known of an endpoint: it answers; nothing; it fails or is slow. */
export type Standing = 'well' | 'fresh' | 'ill';

/** How many more attempts there may be. */
export interface Room {
  /** To each endpoint; one that is not named here is `fresh` and may have 1. */
  each: { id: string; room: number; standing: Standing }[];
  /** To all together. */
  total: number;
  /** To those that are fresh or ill, together. */
  fresh: number;
  /** To those that are ill, together. */
  ill: number;
}

export async function claim(db: Database, room: Room, now: number, until: number): Promise<Claimed[]> {
  const token = uuid7();
  const rows = await db.query<Omit<Claimed, 'claim'>>(`${ROOM}${ALLOWED}${TAKE}`, [
    new Date(now),
    new Date(until),
    room.each.map(({ id }) => id),
    room.each.map((one) => one.room),
    room.each.map(({ standing }) => standing),
    room.total,
    token,
    room.fresh,
    room.ill,
  ]);
  return rows.map((row) => ({ ...row, claim: token }));
}

/** What was claimed and not tried is due again at once. */
export async function release(query: Query, held: Claimed[]): Promise<void> {
  if (!held.length) return;
  await query(
    `update webhook_deliveries d set next_at = '-infinity', claim = null
     from unnest($1::uuid[], $2::uuid[], $3::uuid[]) as h(endpoint_id, event_id, claim)
     where d.endpoint_id = h.endpoint_id and d.event_id = h.event_id and d.claim = h.claim and d.status = 'pending'`,
    [held.map((one) => one.endpoint_id), held.map((one) => one.event_id), held.map((one) => one.claim)],
  );
}
