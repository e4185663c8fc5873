/**
 * webhook: EVENTS → deliveries in Postgres → signed POSTs. An event is acknowledged once its deliveries are rows; from
 * then on Postgres says what is due, and every process of this service takes its share.
 */
import { PartitionConsumer } from '../../nats/partition-consumer.ts';
import { consumer, EVENTS, streams, subject } from '../../nats/topology.ts';
import { openGuard, type Resolve } from '../../shared/egress-guard.ts';
import { decodeEvents, type Event } from '../../shared/pipeline/events.ts';
import type { Context, Service, ServiceDefinition } from '../../shared/service.ts';
import { insertDeliveries } from '../../shared/webhooks/deliveries.ts';
import { openSecretsSealing } from '../../shared/webhooks/secrets.ts';
import { sweep } from './cleanup.ts';
import { Dispatcher } from './dispatcher.ts';
import { EndpointCache, matchEndpoints } from './endpoint-cache.ts';
import { fromEnvironment } from './environment-endpoints.ts';
import { openPoster } from './poster.ts';
import { recoverStep } from './recovery.ts';

const CHORES_MS = 1_000;
const SWEEP_EVERY = 60;

/** What a test may play: the time that pauses are counted in, and how names resolve. */
export interface World {
  now?: () => number;
  resolve?: Resolve;
}

export async function open(context: Context, { now = Date.now, resolve }: World = {}): Promise<Service> {
  const { config, log, metrics, db } = context;
  const sealer = openSecretsSealing(config);
  const guard = openGuard(config, 'WEBHOOK_ALLOW_CIDRS');
  await fromEnvironment(db, sealer, { config, guard });
  const nc = await context.connect('webhook');
  const poster = openPoster(config, guard, resolve);
  const dispatcher = new Dispatcher(context, new EndpointCache(db, sealer, log), poster, now);
  nc.subscribe(subject.webhooks, { callback: () => dispatcher.wake() });
  const spec = streams(config)
    .find((stream) => stream.config.name === EVENTS)!
    .consumers.find(({ durable_name }) => durable_name === consumer.webhook)!;

  const writer = new PartitionConsumer<() => Event[]>(nc, {
    stage: 'webhook',
    partition: 0,
    stream: EVENTS,
    consumer: spec,
    window: config.WEBHOOK_WINDOW,
    direct: true,
    stuckMs: config.READY_STUCK_MS,
    log,
    metrics,
    // Where nobody wants events they are not even read.
    decode: (data) => () => decodeEvents(data),
    restore: async () => undefined,
    async handle(batch) {
      const orders = await matchEndpoints(db.query, () => batch.flatMap(({ value }) => value()));
      const made = orders.length;
      if (made) await db.transaction(({ query }) => insertDeliveries(query, orders));
      metrics.records.inc({ stage: 'webhook', outcome: 'ok' }, made);
      metrics.batch.observe({ stage: 'webhook' }, made);
      if (made) dispatcher.wake();
    },
  });

  let round = 0;
  let chores: Promise<void> = Promise.resolve();
  let busy = false;
  const timer = setInterval(() => {
    if (busy || nc.isClosed()) return;
    busy = true;
    chores = (async () => {
      while (!nc.isClosed() && (await recoverStep(nc, db, log))) dispatcher.wake();
      if (round++ % SWEEP_EVERY === 0) await sweep(db, config, now());
    })()
      .catch((error: unknown) => log.warn({ unit: 'webhook', reason: String(error) }, 'chores wait'))
      .finally(() => {
        busy = false;
      });
  }, CHORES_MS).unref();

  return {
    ready: () => dispatcher.trouble ?? writer.ready(),
    async close() {
      clearInterval(timer);
      await writer.close();
      await Promise.all([dispatcher.close(), chores]);
      await nc.drain();
    },
  };
}

const definition: ServiceDefinition = {
  name: 'webhook',
  about: 'delivers events to integrations: EVENTS to signed POSTs',
  open: (context) => open(context),
};
export default definition;
