/** events: LOG and the outbox → EVENTS. Opens and closes one worker per partition (partition-worker.ts) and the outbox. */
import { earliest } from '../../nats/consumer-monitor.ts';
import { createLogConsumers } from '../../nats/log-consumers.ts';
import { Publisher } from '../../nats/publisher.ts';
import type { Context, Service, ServiceDefinition } from '../../shared/service.ts';
import { Outbox } from './outbox.ts';
import { EventWorker } from './partition-worker.ts';

async function open(context: Context): Promise<Service> {
  const { config, log, metrics, db } = context;
  const nc = await context.connect('events');
  const publisher = new Publisher(nc);
  const outbox = new Outbox(db, publisher, log);
  const options = { nc, publisher, maxPerMessage: config.EVENTS_MAX_PER_MESSAGE, metrics };
  const consumers = createLogConsumers(nc, context, 'events', (partition) => {
    const worker = new EventWorker(partition, options);
    return {
      window: config.EVENTS_WINDOW,
      apartMs: config.BEHIND_MS,
      restore: () => worker.takeOver(),
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

const definition: ServiceDefinition = {
  name: 'events',
  about: 'publishes what happened: LOG and the outbox to EVENTS',
  open,
};
export default definition;
