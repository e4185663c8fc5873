/** ingest: INGRESS → LOG. Opens and closes one worker per partition (worker.ts) and what the workers share. */
import type { NatsConnection } from 'nats';
import { earliest } from '../../nats/consumer-monitor.ts';
import { watchFullInboxes } from '../../nats/inbox/full-inboxes.ts';
import { PartitionConsumer } from '../../nats/partition-consumer.ts';
import { Publisher } from '../../nats/publisher.ts';
import { durableSpec, streamSpec } from '../../nats/streams.ts';
import { consumer, INGRESS, lastToken, subject } from '../../nats/topology.ts';
import { startPeriodicTask } from '../../shared/async/periodic-task.ts';
import { openDatabase } from '../../shared/db/database.ts';
import { decodeCommands } from '../../shared/pipeline/commands.ts';
import type { Context, Service, ServiceDefinition } from '../../shared/service.ts';
import { guardStore } from './guarded-store.ts';
import { PersonCache } from './person-cache.ts';
import { openStore } from './store.ts';
import { IngestWorker } from './worker.ts';

/** Interval at which a worker that refuses all commands checks the reason again. */
const RESUME_CHECK_MS = 500;

async function open(context: Context): Promise<Service> {
  const { config, log, metrics } = context;
  // Its own connections: a look-up never waits behind statements of services in the same process.
  const db = await openDatabase({ ...config, DATABASE_POOL: config.INGEST_POOL }, log);
  const nc = await context.connect('ingest');
  const store = guardStore(openStore(db), () => db.query('select 1'), config.INGEST_LOOKUP_TIMEOUT_MS);
  const publisher = new Publisher(nc);
  const people = new PersonCache(config.INGEST_MAX_PEOPLE);
  const full = await watchFullInboxes(nc);
  const partitions = Array.from({ length: config.PARTITIONS }, (_, partition) => partition);
  const options = { nc, publisher, store, people, full, config, metrics, log };
  const workers = partitions.map((partition) => new IngestWorker(partition, options));
  subscribeToChanges(nc, people, workers);
  const resumeTask = startPeriodicTask(
    () => {
      for (const worker of workers) if (worker.unavailableReason !== undefined) worker.tryToResume().catch(() => {});
    },
    { everyMs: RESUME_CHECK_MS, onError: () => {} },
  );
  const consumers = partitions.map((partition) => {
    const worker = workers[partition]!;
    return new PartitionConsumer(nc, {
      stage: 'ingest',
      partition,
      stream: INGRESS,
      createStream: streamSpec(config, INGRESS).config,
      consumer: durableSpec(config, INGRESS, consumer.ingest(partition)),
      window: config.INGEST_WINDOW,
      stuckMs: config.READY_STUCK_MS,
      log,
      metrics,
      restore: () => worker.restore(),
      decode: decodeCommands,
      handle: (batch) => worker.handle(batch),
    });
  });
  return {
    ready: () =>
      consumers.map((one) => one.ready()).find((state) => state !== true) ??
      workers.map(({ unavailableReason }) => unavailableReason).find((reason) => reason !== undefined) ??
      true,
    brokerRefusesSince: () => earliest(publisher.refusesSince, ...consumers.map((one) => one.refusesSince)),
    close: async () => {
      await Promise.all(consumers.map((one) => one.close()));
      await resumeTask.close();
      store.close();
      publisher.close();
      await nc.drain();
      await db.close();
    },
  };
}

/** Keeps caches and positions up to date by core events, which may be lost while the connection is broken. */
function subscribeToChanges(nc: NatsConnection, people: PersonCache, workers: IngestWorker[]): void {
  nc.subscribe(subject.people('*'), {
    callback: (_, message) => people.forget(lastToken(message.subject)),
  });
  nc.subscribe(subject.projected('*'), {
    callback: (_, message) =>
      workers[Number(lastToken(message.subject))]?.setProjected((message.json() as { entry_seq: number }).entry_seq),
  });
  void (async () => {
    for await (const { type } of nc.status()) if (type === 'reconnect') people.forgetAll();
  })();
}

const definition: ServiceDefinition = { open };
export default definition;
