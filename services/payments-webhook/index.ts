/** payments-webhook: PAYMENTS → Postgres and LOG. Opens and closes the consumer; apply-batch.ts says what it does. */
import { Gateway } from '../../nats/gateway.ts';
import { PartitionConsumer } from '../../nats/partition-consumer.ts';
import { durableSpec } from '../../nats/streams.ts';
import { consumer, PAYMENTS } from '../../nats/topology.ts';
import { decodePayments, type ReceivedPayment } from '../../shared/pipeline/payments.ts';
import type { Context, Service, ServiceDefinition } from '../../shared/service.ts';
import { createBatchHandler } from './apply-batch.ts';

/** Messages of PAYMENTS that are pulled ahead. */
const WINDOW = 256;

async function open(context: Context): Promise<Service> {
  const { config, log, metrics, db } = context;
  const nc = await context.connect('payments-webhook');
  const gateway = new Gateway(nc, config);
  const paymentConsumer = new PartitionConsumer<ReceivedPayment[]>(nc, {
    stage: 'payments-webhook',
    partition: 0,
    stream: PAYMENTS,
    consumer: durableSpec(config, PAYMENTS, consumer.payments),
    window: WINDOW,
    stuckMs: config.READY_STUCK_MS,
    log,
    metrics,
    decode: decodePayments,
    restore: async () => undefined,
    handle: createBatchHandler({ db, gateway, log, metrics }),
  });
  return {
    ready: () => paymentConsumer.ready(),
    close: async () => {
      await paymentConsumer.close();
      gateway.close();
      await nc.drain();
    },
  };
}

export default { open } satisfies ServiceDefinition;
