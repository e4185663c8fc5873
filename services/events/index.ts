/** events: LOG and the outbox → EVENTS. Opens and closes one worker per partition (partition-worker.ts) and the outbox. */
import { earliest } from '../../nats/consumer-monitor.ts';
import { createLogConsumers } from '../../nats/log-consumers.ts';
import { Publisher } from '../../nats/publisher.ts';
import type { Context, Service, ServiceDefinition } from '../../shared/service.ts';
import { Outbox } from './outbox.ts';
import { EventWorker } from './partition-worker.ts';

/** Log entries that are pulled ahead, per partition. */
const WINDOW = 64;
/** Events of one message of EVENTS: about 1 MB of the 8 MB that the broker accepts. */
const MAX_PER_MESSAGE = 2_500;

async function open(context: Context): Promise<Service> {
  const { config, log, metrics, db } = context;
  const nc = await context.connect('events');
  const publisher = new Publisher(nc);
  const outbox = new Outbox(db, publisher, log);
  const options = { nc, publisher, maxPerMessage: MAX_PER_MESSAGE, metrics };
  const consumers = createLogConsumers(nc, context, 'events', (partition) => {
    const worker = new EventWorker(partition, options);
    return {
      window: WINDOW,
      apartMs: config.BEHIND_MS,
      restore: () => worker.restore(),
      handle: (batch) => worker.handle(batch),
    };
  });

  return {
    ready: () => outbox.trouble ?? consumers.map((one) => one.ready()).find((state) => state !== true) ?? true,
    brokerRefusesSince: () => earliest(publisher.refusesSince, ...consumers.map((one) => one.refusesSince)),
    close: async () => {
      await Promise.all([...consumers.map((one) => one.close()), outbox.close()]);
      publisher.close();
      await nc.drain();
    },
  };
}

const definition: ServiceDefinition = { open };
export default definition;
