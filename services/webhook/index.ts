/**
 * Service webhook: EVENTS → deliveries in Postgres → signed POSTs. An event is acknowledged once its deliveries are rows;
 * from then on Postgres says what is due, and every process of this service takes its share.
 */
import { PartitionConsumer } from '../../nats/partition-consumer.ts';
import { durableSpec } from '../../nats/streams.ts';
import { consumer, EVENTS, subject } from '../../nats/topology.ts';
import { startPeriodicTask } from '../../shared/async/periodic-task.ts';
import { openEgressGuard, type Resolve } from '../../shared/egress-guard.ts';
import { decodeEvents, type Event } from '../../shared/pipeline/events.ts';
import type { Context, Service, ServiceDefinition } from '../../shared/service.ts';
import { insertDeliveries } from '../../shared/webhooks/deliveries.ts';
import { openWebhookEncryption } from '../../shared/webhooks/secrets.ts';
import { cleanUpDeliveries } from './cleanup.ts';
import { Dispatcher } from './dispatcher.ts';
import { EndpointCache, matchEndpoints } from './endpoint-cache.ts';
import { syncEnvironmentEndpoints } from './environment-endpoints.ts';
import { openPoster } from './poster.ts';
import { runRecoveryStep } from './recovery.ts';

/** Messages of EVENTS that are pulled ahead. */
const WINDOW = 64;
const HOUSEKEEPING_MS = 1_000;
/** Every how many rounds of housekeeping deliveries are cleaned up. */
const CLEAN_UP_EVERY = 60;

/** Replacements for tests. */
export interface WebhookOptions {
  /** The clock that pauses are counted by. */
  now?: () => number;
  resolve?: Resolve;
}

export async function open(context: Context, { now = Date.now, resolve }: WebhookOptions = {}): Promise<Service> {
  const { config, log, db } = context;
  const encryption = openWebhookEncryption(config);
  const guard = openEgressGuard(config, 'WEBHOOK_ALLOW_CIDRS');
  await syncEnvironmentEndpoints(db, encryption, { config, guard });
  const nc = await context.connect('webhook');
  const poster = openPoster(config, guard, resolve);
  const dispatcher = new Dispatcher(context, new EndpointCache(db, encryption, log), poster, now);
  nc.subscribe(subject.webhooks, { callback: () => dispatcher.wake() });
  const events = consumeEvents(context, nc, dispatcher);

  let round = 0;
  const housekeeping = startPeriodicTask(
    async () => {
      while (!nc.isClosed() && (await runRecoveryStep(nc, db, log))) dispatcher.wake();
      if (!nc.isClosed() && round++ % CLEAN_UP_EVERY === 0) await cleanUpDeliveries(db, config, now());
    },
    {
      everyMs: HOUSEKEEPING_MS,
      onError: (error) =>
        log.warn({ unit: 'webhook', reason: String(error) }, 'housekeeping failed and is tried again'),
    },
  );

  return {
    ready: () => dispatcher.problem ?? events.ready(),
    async close() {
      const housekeepingEnded = housekeeping.close();
      await events.close();
      await Promise.all([dispatcher.close(), housekeepingEnded]);
      await nc.drain();
    },
  };
}

/** Writes the deliveries of each batch of events before the events are acknowledged. */
function consumeEvents(
  { config, db, log, metrics }: Context,
  nc: Awaited<ReturnType<Context['connect']>>,
  dispatcher: Dispatcher,
): PartitionConsumer<() => Event[]> {
  return new PartitionConsumer<() => Event[]>(nc, {
    stage: 'webhook',
    partition: 0,
    stream: EVENTS,
    consumer: durableSpec(config, EVENTS, consumer.webhook),
    window: WINDOW,
    direct: true,
    stuckMs: config.READY_STUCK_MS,
    log,
    metrics,
    // Decoded only when an endpoint is enabled, so that a system without webhooks parses no events.
    decode: (data) => () => decodeEvents(data),
    restore: async () => undefined,
    async handle(batch) {
      const deliveries = await matchEndpoints(db.query, () => batch.flatMap(({ value: readEvents }) => readEvents()));
      if (deliveries.length) await db.transaction(({ query }) => insertDeliveries(query, deliveries));
      metrics.records.inc({ stage: 'webhook', outcome: 'ok' }, deliveries.length);
      metrics.batch.observe({ stage: 'webhook' }, deliveries.length);
      if (deliveries.length) dispatcher.wake();
    },
  });
}

const definition: ServiceDefinition = { open: (context) => open(context) };
export default definition;
