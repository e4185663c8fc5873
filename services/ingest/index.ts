/** ingest: INGRESS → LOG. Numbers the messages of each conversation; one worker a partition, see worker.ts. */
import { earliest } from '../../nats/consumer-monitor.ts';
import { watchFullInboxes } from '../../nats/inbox/full-inboxes.ts';
import { PartitionConsumer } from '../../nats/partition-consumer.ts';
import { Publisher } from '../../nats/publisher.ts';
import { consumer, INGRESS, streams } from '../../nats/topology.ts';
import { openDatabase } from '../../shared/db/database.ts';
import { decodeCommands } from '../../shared/pipeline/commands.ts';
import type { Context, Service, ServiceDefinition } from '../../shared/service.ts';
import { guardStore } from './guarded-store.ts';
import { PersonCache } from './person-cache.ts';
import { openStore } from './store.ts';
import { IngestWorker } from './worker.ts';

/** A worker that refuses all commands checks the reason again after so long. */
const CHECK_MS = 500;

async function open(context: Context): Promise<Service> {
  const { config, log, metrics } = context;
  // Its own connections: a look-up never waits behind statements of services in the same process.
  const db = await openDatabase({ ...config, DATABASE_POOL: config.INGEST_POOL }, log);
  const nc = await context.connect('ingest');
  const store = guardStore(openStore(db), () => db.query('select 1'), config.INGEST_LOOKUP_TIMEOUT_MS);
  const publisher = new Publisher(nc);
  const people = new PersonCache(config.INGEST_MAX_PEOPLE);
  const ingress = streams(config).find(({ config: { name } }) => name === INGRESS)!;
  const full = await watchFullInboxes(nc);
  const workers = ingress.consumers.map(
    (_, number) => new IngestWorker(number, { nc, publisher, store, people, full, config, metrics, log }),
  );

  nc.subscribe('people.*', {
    callback: (_, message) => people.forget(message.subject.slice('people.'.length)),
  });
  nc.subscribe('projected.*', {
    callback: (_, message) =>
      workers[Number(message.subject.slice('projected.'.length))]?.setProjected(
        (message.json() as { entry_seq: number }).entry_seq,
      ),
  });
  void (async () => {
    // Events about people that were published meanwhile are lost.
    for await (const { type } of nc.status()) if (type === 'reconnect') people.forgetAll();
  })();

  const checking = setInterval(() => {
    for (const worker of workers) if (worker.unavailableReason !== undefined) worker.tryToResume().catch(() => {});
  }, CHECK_MS).unref();

  const writers = ingress.consumers.map((spec, number) => {
    const worker = workers[number]!;
    return new PartitionConsumer(nc, {
      stage: 'ingest',
      partition: number,
      stream: INGRESS,
      createStream: ingress.config,
      consumer: ingress.consumers.find(({ durable_name }) => durable_name === consumer.ingest(number)) ?? spec,
      window: config.INGEST_WINDOW,
      stuckMs: config.READY_STUCK_MS,
      log,
      metrics,
      restore: () => worker.takeOver(),
      decode: decodeCommands,
      handle: (batch) => worker.handle(batch),
    });
  });
  return {
    ready: () =>
      writers.map((writer) => writer.ready()).find((state) => state !== true) ??
      workers.map(({ unavailableReason }) => unavailableReason).find((reason) => reason !== undefined) ??
      true,
    brokerRefusesSince: () => earliest(publisher.refusesSince, ...writers.map((writer) => writer.refusesSince)),
    close: async () => {
      await Promise.all(writers.map((writer) => writer.close()));
      clearInterval(checking);
      store.close();
      publisher.close();
      await nc.drain();
      await db.close();
    },
  };
}

const definition: ServiceDefinition = { open };
export default definition;
