/**
 * payments-webhook: PAYMENTS → Postgres (and with it the outbox of EVENTS), then LOG by a command to ingest. An event is
 * written down once for ever by its key; then its conversations are told, and it is marked. Whatever dies in between, the
 * batch comes again and goes on where it was, and nobody hears twice: a conversation takes a payment only forward.
 */

import { Gateway } from '../../nats/gateway.ts';
import { PartitionConsumer, type StreamMessage } from '../../nats/partition-consumer.ts';
import { consumer, PAYMENTS, streams } from '../../nats/topology.ts';
import { ApiError } from '../../shared/contract/errors.ts';
import type { PaymentState } from '../../shared/contract/payments.ts';
import { decodePayments, type ReceivedPayment } from '../../shared/pipeline/payments.ts';
import type { Context, Service, ServiceDefinition } from '../../shared/service.ts';
import { markApplied, type Place, record } from './store.ts';

async function open(context: Context): Promise<Service> {
  const { config, log, metrics, db } = context;
  const nc = await context.connect('payments-webhook');
  const gateway = new Gateway(nc, config);
  const spec = streams(config).find((stream) => stream.config.name === PAYMENTS)!.consumers[0]!;

  async function tell(
    request_id: string,
    { conversation_id, party }: Place,
    { state, transfer_id }: { state: PaymentState; transfer_id: string | null },
    again: boolean,
  ): Promise<void> {
    try {
      await gateway.call({
        ...{ kind: 'payment', conversation_id, user_id: '', device_id: '', request_id, state },
        transfer_id: party ? (transfer_id ?? undefined) : undefined,
        again: again || undefined,
      });
    } catch (error) {
      // The payments service named a conversation that is not there; the next change of state tries again.
      if (!(error instanceof ApiError && error.code === 'not_found')) throw error;
      metrics.records.inc({ stage: 'payments-webhook', outcome: 'no_conversation' });
      log.warn({ stage: 'payments-webhook', conversation_id }, 'no such conversation');
    }
  }

  async function handle(batch: StreamMessage<ReceivedPayment[]>[]): Promise<void> {
    const events = batch.flatMap(({ value }) => value);
    const { untold, requests, conversations } = await record(db, events);
    const replayed = new Set(events.flatMap(({ replay, request_id }) => (replay ? [request_id] : [])));
    const placed = new Set(events.flatMap(({ conversation_id, request_id }) => (conversation_id ? [request_id] : [])));
    const of = (request: string): Place[] => conversations.get(request) ?? [];
    const work: Promise<void>[] = [];
    for (const event of untold) {
      if (!event.moved && !placed.has(event.request_id)) continue;
      // A conversation that it was put into by a late event is told where the request is now.
      const now = event.moved ? event : requests.get(event.request_id)!;
      for (const conversation of of(event.request_id)) work.push(tell(event.request_id, conversation, now, false));
    }
    for (const request of replayed) {
      const now = requests.get(request);
      if (now) for (const conversation of of(request)) work.push(tell(request, conversation, now, true));
    }
    await settled(work);
    if (untold.length) await markApplied(db, [...untold.map(({ key }) => key)]);
    metrics.records.inc({ stage: 'payments-webhook', outcome: 'ok' }, events.length);
    metrics.batch.observe({ stage: 'payments-webhook' }, events.length);
  }

  const writer = new PartitionConsumer<ReceivedPayment[]>(nc, {
    stage: 'payments-webhook',
    partition: 0,
    stream: PAYMENTS,
    consumer: { ...spec, durable_name: consumer.payments },
    window: config.PAYMENTS_WINDOW,
    stuckMs: config.READY_STUCK_MS,
    log,
    metrics,
    decode: decodePayments,
    restore: async () => undefined,
    handle,
  });
  return {
    ready: () => writer.ready(),
    close: async () => {
      await writer.close();
      gateway.close();
      await nc.drain();
    },
  };
}

/** Waits for all of them, then throws what the first that failed threw. */
async function settled(work: Promise<void>[]): Promise<void> {
  for (const result of await Promise.allSettled(work)) if (result.status === 'rejected') throw result.reason;
}

export default {
  name: 'payments-webhook',
  about: 'applies payment events: PAYMENTS to requests and conversations',
  open,
} satisfies ServiceDefinition;
