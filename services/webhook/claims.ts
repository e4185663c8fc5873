/**
 * Claims deliveries that are due for this process. A claim moves `next_at` to the claim's end, so deliveries claimed by a
 * process that died are due again then. Each endpoint is looked up by itself, so a backlog of one costs the others nothing.
 */
import type { Database, Query } from '../../shared/db/database.ts';
import { uuid7 } from '../../shared/ids.ts';
import { DUE_NOW } from '../../shared/webhooks/deliveries.ts';

export interface ClaimedDelivery {
  endpoint_id: string;
  event_id: string;
  type: string;
  body: string;
  /** Failed attempts so far. */
  attempts: number;
  claim: string;
  /** Version of the endpoint. */
  version: number;
}

/** Lists the endpoints with pending deliveries, by jumps through the index, and the free slots of each. */
const FREE = `with recursive waiting(id) as (
    (select endpoint_id from webhook_deliveries where status = 'pending' order by endpoint_id limit 1)
    union all
    select (select d.endpoint_id from webhook_deliveries d where d.status = 'pending' and d.endpoint_id > w.id
      order by d.endpoint_id limit 1) from waiting w where w.id is not null
  ), free as materialized (
    select e.id, e.version, coalesce(k.free, 1) as free, coalesce(k.health, 'unknown') as health, e.max_per_sec, e.paced_until
    from waiting w join webhook_endpoints e on e.id = w.id
      left join unnest($3::uuid[], $4::int[], $5::text[]) as k(id, free, health) on k.id = e.id
    where e.enabled and coalesce(k.free, 1) > 0
  )`;
/**
 * Limits endpoints that have a rate to the tokens that their rate leaves them, a tenth of a second's worth at a time.
 * Their rows are locked, so that all processes share one rate.
 */
const ALLOWED = `, limited as (
    select e.id, floor(extract(epoch from $1::timestamptz
      - greatest(e.paced_until, $1::timestamptz - make_interval(secs => greatest(0.1, 1.0 / e.max_per_sec))))
      * e.max_per_sec + 0.001)::int as tokens
    from webhook_endpoints e join free f on f.id = e.id where e.max_per_sec is not null for update of e skip locked
  ), allowed as materialized (
    select f.id, f.version, f.free, f.health from free f where f.max_per_sec is null
    union all
    select f.id, f.version, least(f.free, l.tokens), f.health from free f join limited l on l.id = f.id where l.tokens > 0
  )`;
/** Selects due deliveries to endpoints of that health, in random order: when slots are few, no endpoint is always last. */
const dueTo = (health: EndpointHealth, limit: string): string => `
    select r.version, d.endpoint_id, d.event_id
    from (select * from allowed where health = '${health}' order by random()) r cross join lateral (
      select endpoint_id, event_id from webhook_deliveries
      where endpoint_id = r.id and status = 'pending' and next_at <= $1 order by next_at, seq limit r.free
      for update skip locked) d
    limit ${limit}`;
const TAKE = `, healthy as materialized (${dueTo('healthy', '$6')}
  ), unknown as materialized (${dueTo('unknown', 'least($8, $6 - (select count(*) from healthy))')}
  ), degraded as materialized (${dueTo('degraded', 'least($9, least($8, $6 - (select count(*) from healthy)) - (select count(*) from unknown))')}
  ), due as (
    select * from healthy union all select * from unknown union all select * from degraded
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

/** `healthy`: answers. `unknown`: nothing was sent to it yet. `degraded`: fails or is slow. */
export type EndpointHealth = 'healthy' | 'unknown' | 'degraded';

/** Number of attempts that may still begin. */
export interface FreeSlots {
  /** By endpoint. One that is missing here is `unknown` and has one slot. */
  byEndpoint: { id: string; free: number; health: EndpointHealth }[];
  total: number;
  /** Of the total, for `unknown` and `degraded` endpoints together. */
  notHealthy: number;
  /** Of these, for `degraded` endpoints. */
  degraded: number;
}

/** Claims as many due deliveries as there are free slots. `nowMs` and `untilMs` are ms since 1970. */
export async function claimDue(
  db: Database,
  slots: FreeSlots,
  nowMs: number,
  untilMs: number,
): Promise<ClaimedDelivery[]> {
  const claim = uuid7();
  const rows = await db.query<Omit<ClaimedDelivery, 'claim'>>(`${FREE}${ALLOWED}${TAKE}`, [
    new Date(nowMs),
    new Date(untilMs),
    slots.byEndpoint.map(({ id }) => id),
    slots.byEndpoint.map(({ free }) => free),
    slots.byEndpoint.map(({ health }) => health),
    slots.total,
    claim,
    slots.notHealthy,
    slots.degraded,
  ]);
  return rows.map((row) => ({ ...row, claim }));
}

/** Makes claimed deliveries due again at once. One whose claim has run out belongs to another process and stays. */
export async function releaseClaims(query: Query, claimed: ClaimedDelivery[]): Promise<void> {
  if (!claimed.length) return;
  await query(
    `update webhook_deliveries d set next_at = '${DUE_NOW}', claim = null
     from unnest($1::uuid[], $2::uuid[], $3::uuid[]) as h(endpoint_id, event_id, claim)
     where d.endpoint_id = h.endpoint_id and d.event_id = h.event_id and d.claim = h.claim and d.status = 'pending'`,
    [
      claimed.map(({ endpoint_id }) => endpoint_id),
      claimed.map(({ event_id }) => event_id),
      claimed.map(({ claim }) => claim),
    ],
  );
}
