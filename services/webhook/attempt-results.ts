/**
 * Records the results of attempts, many in one transaction: the log of attempts, the state of each delivery, the next one
 * in an ordered queue, and whether the endpoint goes on failing.
 */
import type { Config } from '../../shared/config/index.ts';
import type { Database, Query } from '../../shared/db/database.ts';
import { appendEvents } from '../../shared/db/outbox.ts';
import { uuid7 } from '../../shared/ids.ts';
import { DUE_NOW } from '../../shared/webhooks/deliveries.ts';
import type { ClaimedDelivery } from './claims.ts';
import type { AttemptOutcome } from './poster.ts';
import { retryDelayMs } from './retry-schedule.ts';

export interface AttemptResult {
  claimed: ClaimedDelivery;
  outcome: AttemptOutcome;
  /** When the attempt began, ms since 1970. */
  at: number;
  duration_ms: number;
}
/** HTTP status by which an endpoint says that it is gone for good. */
const GONE = 410;

interface RecordedAttempts {
  /** Attempts after which the delivery is given up. */
  dead: AttemptResult[];
  /** Endpoints that were disabled. */
  disabled: string[];
}
interface Verdict {
  status: 'delivered' | 'dead' | 'pending';
  next_at: Date | null;
}
interface FinishedDelivery {
  endpoint_id: string;
  conversation_id: string | null;
}

/**
 * Writes results and schedules what is attempted next. A success counts even when the claim has run out; a failure does
 * not, because another process has claimed the delivery since and its attempt decides.
 */
export function recordAttempts(db: Database, config: Config, results: AttemptResult[]): Promise<RecordedAttempts> {
  return db.transaction(async ({ query }) => {
    const endpoints = [...new Set(results.map(({ claimed }) => claimed.endpoint_id))];
    // insertDeliveries adds deliveries behind these under the same lock, see shared/webhooks/deliveries.ts.
    await query('select 1 from webhook_endpoints where id = any($1) and ordered order by id for no key update', [
      endpoints,
    ]);
    const verdicts = results.map((result) => judgeAttempt(config, result));
    const finished = await query<FinishedDelivery>(
      `with r as (
         select * from unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::text[], $5::timestamptz[], $6::timestamptz[], $7::int[], $8::text[])
           as r(endpoint_id, event_id, claim, status, next_at, at, last_status, last_error)
       )
       update webhook_deliveries d set status = r.status, attempts = d.attempts + 1,
         next_at = coalesce(r.next_at, d.next_at), finished_at = case when r.status <> 'pending' then r.at end,
         last_status = r.last_status, last_error = r.last_error, claim = null
       from r where d.endpoint_id = r.endpoint_id and d.event_id = r.event_id and d.status = 'pending'
         and (d.claim = r.claim or r.status = 'delivered')
       returning d.endpoint_id, case when d.status <> 'pending' then d.conversation_id end as conversation_id`,
      [
        results.map(({ claimed }) => claimed.endpoint_id),
        results.map(({ claimed }) => claimed.event_id),
        results.map(({ claimed }) => claimed.claim),
        verdicts.map(({ status }) => status),
        verdicts.map(({ next_at }) => next_at),
        results.map(({ at, duration_ms }) => new Date(at + duration_ms)),
        results.map(({ outcome }) => outcome.status ?? null),
        results.map(({ outcome }) => outcome.error ?? null),
      ],
    );
    await unblockNextInOrder(query, finished);
    await logAttempts(query, results);
    const disabled = await updateEndpoints(query, config, results);
    return { dead: results.filter((_, i) => verdicts[i]!.status === 'dead'), disabled };
  });
}

function judgeAttempt(config: Config, { claimed, outcome, at, duration_ms }: AttemptResult): Verdict {
  if (outcome.delivered) return { status: 'delivered', next_at: null };
  const delayMs = retryDelayMs(config, claimed.attempts + 1, outcome.retry_after_ms);
  if (outcome.status === GONE || delayMs === undefined) return { status: 'dead', next_at: null };
  return { status: 'pending', next_at: new Date(at + duration_ms + delayMs) };
}

/** Makes due the first delivery that waits behind each finished one of an ordered queue. */
async function unblockNextInOrder(query: Query, finished: FinishedDelivery[]): Promise<void> {
  const queues = finished.filter(({ conversation_id }) => conversation_id !== null);
  if (!queues.length) return;
  await query(
    `update webhook_deliveries d set next_at = '${DUE_NOW}'
     from (select distinct endpoint_id, conversation_id from unnest($1::uuid[], $2::uuid[]) as l(endpoint_id, conversation_id)) l
       cross join lateral (select p.event_id, p.next_at from webhook_deliveries p where p.endpoint_id = l.endpoint_id
         and p.conversation_id = l.conversation_id and p.status = 'pending' order by p.seq limit 1) p
     where d.endpoint_id = l.endpoint_id and d.event_id = p.event_id and p.next_at = 'infinity'`,
    [queues.map(({ endpoint_id }) => endpoint_id), queues.map(({ conversation_id }) => conversation_id)],
  );
}

async function logAttempts(query: Query, results: AttemptResult[]): Promise<void> {
  await query(
    `insert into webhook_attempts (id, endpoint_id, event_id, attempt, at, duration_ms, outcome, status, error, response)
     select a.* from unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::int[], $5::timestamptz[], $6::int[], $7::text[], $8::int[], $9::text[], $10::text[])
       as a(id, endpoint_id, event_id, attempt, at, duration_ms, outcome, status, error, response)
     where exists (select 1 from webhook_endpoints e where e.id = a.endpoint_id)`,
    [
      results.map(() => uuid7()),
      results.map(({ claimed }) => claimed.endpoint_id),
      results.map(({ claimed }) => claimed.event_id),
      results.map(({ claimed }) => claimed.attempts + 1),
      results.map(({ at }) => new Date(at)),
      results.map(({ duration_ms }) => Math.round(duration_ms)),
      results.map(({ outcome }) => (outcome.delivered ? 'delivered' : 'failed')),
      results.map(({ outcome }) => outcome.status ?? null),
      results.map(({ outcome }) => outcome.error ?? null),
      results.map(({ outcome }) => outcome.response || null),
    ],
  );
}

/**
 * Keeps since when each endpoint fails. A success ends that time. One that has failed for WEBHOOK_DISABLE_AFTER_DAYS, or
 * answers 410, is disabled, and the event about it is written in the same transaction.
 * @returns the disabled endpoints
 */
async function updateEndpoints(query: Query, config: Config, results: AttemptResult[]): Promise<string[]> {
  const answering = new Set(
    results.filter(({ outcome }) => outcome.delivered).map(({ claimed }) => claimed.endpoint_id),
  );
  if (answering.size)
    await query('update webhook_endpoints set failing_since = null where id = any($1) and failing_since is not null', [
      [...answering],
    ]);
  const failing = failingEndpoints(results, answering);
  if (!failing.size) return [];
  const disabled = await query<{ id: string; failing_since: Date; disabled_reason: 'gone' | 'failing' }>(
    `with r as (
       select e.id, coalesce(e.failing_since, r.at) as since, r.gone, r.at - coalesce(e.failing_since, r.at) as lasting
       from unnest($1::uuid[], $2::timestamptz[], $3::boolean[]) as r(id, at, gone) join webhook_endpoints e on e.id = r.id
       where e.enabled order by e.id for no key update of e
     ), ended as (
       update webhook_endpoints e set failing_since = r.since,
         enabled = not (r.gone or r.lasting >= make_interval(days => $4)),
         disabled_reason = case when r.gone then 'gone' when r.lasting >= make_interval(days => $4) then 'failing' end
       from r where e.id = r.id and (e.failing_since is null or r.gone or r.lasting >= make_interval(days => $4))
       returning e.id, e.failing_since, e.disabled_reason, e.enabled
     )
     select id, failing_since, disabled_reason from ended where not enabled`,
    [
      [...failing.keys()],
      [...failing.values()].map(({ at }) => new Date(at)),
      [...failing.values()].map(({ isGone }) => isGone),
      config.WEBHOOK_DISABLE_AFTER_DAYS,
    ],
  );
  await appendEvents(
    query,
    ...disabled.map(({ id, failing_since, disabled_reason }) => ({
      type: 'webhook.endpoint.disabled' as const,
      data: { endpoint_id: id, reason: disabled_reason, failing_since: failing_since.toISOString() },
    })),
  );
  return disabled.map(({ id }) => id);
}

/** Endpoints that failed and did not answer in the same batch, or that answered 410, with the end of their last failure. */
function failingEndpoints(
  results: AttemptResult[],
  answering: Set<string>,
): Map<string, { at: number; isGone: boolean }> {
  const failing = new Map<string, { at: number; isGone: boolean }>();
  for (const { claimed, outcome, at, duration_ms } of results) {
    if (outcome.delivered) continue;
    const isGone = outcome.status === GONE;
    if (answering.has(claimed.endpoint_id) && !isGone) continue;
    const known = failing.get(claimed.endpoint_id);
    failing.set(claimed.endpoint_id, {
      at: Math.max(known?.at ?? 0, at + duration_ms),
      isGone: isGone || known?.isGone === true,
    });
  }
  return failing;
}
