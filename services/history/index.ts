/** history: LOG → Postgres. Opens and closes one worker per partition (partition-worker.ts) and the trimmer of LOG. */
import { createLogConsumers } from '../../nats/log-consumers.ts';
import type { Context, Service, ServiceDefinition } from '../../shared/service.ts';
import { HistoryWorker } from './partition-worker.ts';
import { LogTrimmer } from './trim.ts';

const DAY_MS = 86_400_000;

async function open(context: Context): Promise<Service> {
  const { config, log, metrics, db } = context;
  const nc = await context.connect('history');
  const consumers = createLogConsumers(nc, context, 'history', (partition) => {
    const worker = new HistoryWorker(partition, { nc, db, log, metrics });
    return {
      window: config.HISTORY_WINDOW,
      apartMs: config.BEHIND_MS,
      restore: () => worker.restore(),
      handle: (batch) => worker.handle(batch),
    };
  });
  const trimmer = new LogTrimmer(nc, {
    ...{ partitions: config.PARTITIONS, retentionMs: config.LOG_RETENTION_DAYS * DAY_MS, log },
  });
  return {
    ready: () => consumers.map((consumer) => consumer.ready()).find((state) => state !== true) ?? true,
    close: async () => {
      await Promise.all([trimmer.close(), ...consumers.map((consumer) => consumer.close())]);
      await nc.drain();
    },
  };
}

const definition: ServiceDefinition = { open };
export default definition;
