/** Runs recoveries that the API was asked for: reads EVENTS again for one endpoint, in steps that survive the worker. */

import type { JetStreamManager } from '@nats-io/jetstream';
import type { NatsConnection } from 'nats';
import type { Logger } from 'pino';
import { jetstreamManager } from '../../nats/jetstream-manager.ts';
import { readDirectBatch } from '../../nats/log-reader.ts';
import { EVENTS } from '../../nats/topology.ts';
import type { Database, Query } from '../../shared/db/database.ts';
import { decodeEvents, type Event } from '../../shared/pipeline/events.ts';
import { insertDeliveries, type NewDelivery, requeueDeliveries } from '../../shared/webhooks/deliveries.ts';
import { matchEndpoints } from './endpoint-cache.ts';

interface Recovery {
  id: string;
  endpoint_id: string;
  since: Date;
  until: Date;
  /** Sequence of the last message of EVENTS that was read; null before the first step. */
  position: number | null;
}
/** Messages of EVENTS that one step reads. */
const STEP = 64;
/** The clock that stamped an event may be ahead of the broker's by this much. */
const SKEW_MS = 60_000;

/**
 * Runs one step of the oldest recovery that no other process has locked, in one transaction.
 * @returns whether there was one
 */
export async function runRecoveryStep(nc: NatsConnection, db: Database, log: Logger): Promise<boolean> {
  const manager = await jetstreamManager(nc);
  return await db.transaction(async ({ query }) => {
    const [recovery] = await query<Recovery>(
      `select id, endpoint_id, since, until, position from webhook_recoveries where done_at is null
       order by id limit 1 for update skip locked`,
    );
    if (!recovery) return false;
    const { id, endpoint_id, since, until, position } = recovery;
    let count = position === null ? await requeueDead(query, recovery) : 0;
    const { events, last } = await readEvents(manager, since, position);
    const wanted = events.filter(({ timestamp }) => {
      const at = Date.parse(timestamp);
      return at >= since.getTime() && at <= until.getTime();
    });
    const deliveries = await missingDeliveries(query, endpoint_id, wanted);
    await insertDeliveries(query, deliveries);
    count += deliveries.length;
    const done = last === undefined;
    await query(
      `update webhook_recoveries set position = $2, recovered = recovered + $3, done_at = case when $4 then now() end
       where id = $1`,
      [id, last ?? position, count, done],
    );
    if (done) log.info({ unit: 'webhook', endpoint_id, recovery_id: id }, 'recovery done');
    return true;
  });
}

/** Requeues deliveries that were given up. Done once, by the first step. */
const requeueDead = (query: Query, { endpoint_id, since, until }: Recovery): Promise<number> =>
  requeueDeliveries(
    query,
    endpoint_id,
    `d.status = 'dead' and exists (select 1 from webhook_events v where v.id = d.event_id and v.at between $2 and $3)`,
    [since, until],
  );

/** Deliveries of these events to the endpoint that do not exist yet. */
async function missingDeliveries(query: Query, endpoint_id: string, events: Event[]): Promise<NewDelivery[]> {
  const deliveries = await matchEndpoints(query, () => events, endpoint_id);
  const known = await query<{ event_id: string }>(
    'select event_id from webhook_deliveries where endpoint_id = $1 and event_id = any($2)',
    [endpoint_id, deliveries.map(({ event }) => event.id)],
  );
  const existing = new Set(known.map(({ event_id }) => event_id));
  return deliveries.filter(({ event }) => !existing.has(event.id));
}

/**
 * Reads the next messages of EVENTS, from `since` at first; `last` is undefined at the end of the stream. An event is stored
 * a moment after it happened, hence later than its own timestamp unless a clock is ahead.
 */
async function readEvents(
  manager: JetStreamManager,
  since: Date,
  position: number | null,
): Promise<{ events: Event[]; last: number | undefined }> {
  const events: Event[] = [];
  let last: number | undefined;
  const from = position === null ? { start_time: new Date(since.getTime() - SKEW_MS) } : { seq: position + 1 };
  for await (const message of readDirectBatch(manager, EVENTS, { ...from, batch: STEP })) {
    last = message.seq;
    try {
      events.push(...decodeEvents(message.data));
    } catch {
      // The worker has made it a dead letter already.
    }
  }
  return { events, last };
}
