/**
 * Applies one batch of payment events: loads, decides and stores in one transaction, then tells the conversations through
 * ingest, then marks the events as applied. An event is stored once for ever by its key. If the process dies in between,
 * the batch comes again and continues where it was; no device hears twice, since a conversation takes a payment only
 * forward.
 */
import type { Logger } from 'pino';
import type { Gateway } from '../../nats/gateway.ts';
import type { StreamMessage } from '../../nats/partition-consumer.ts';
import { ApiError } from '../../shared/contract/errors.ts';
import type { Database } from '../../shared/db/database.ts';
import { appendEvents } from '../../shared/db/outbox.ts';
import type { Metrics } from '../../shared/metrics.ts';
import type { ReceivedPayment } from '../../shared/pipeline/payments.ts';
import { applyEvents, type Notification, notificationsOf, webhookEvents } from './handle.ts';
import { loadBatch, markApplied, readAttachments, readPending, type StoredBatch, storeApplied } from './store.ts';

export interface BatchHandlerOptions {
  db: Database;
  gateway: Gateway;
  log: Logger;
  metrics: Metrics;
}

export function createBatchHandler({ db, gateway, log, metrics }: BatchHandlerOptions) {
  async function notifyConversation({ request_id, attachment, state, transfer_id, isRepeat }: Notification) {
    const { conversation_id, party } = attachment;
    try {
      await gateway.call({
        ...{ kind: 'payment', conversation_id, user_id: '', device_id: '', request_id, state },
        transfer_id: party ? (transfer_id ?? undefined) : undefined,
        again: isRepeat || undefined,
      });
    } catch (error) {
      // The payments service named a conversation that does not exist; the next change of state tries once more.
      if (!(error instanceof ApiError && error.code === 'not_found')) throw error;
      metrics.records.inc({ stage: 'payments-webhook', outcome: 'no_conversation' });
      log.warn({ stage: 'payments-webhook', conversation_id }, 'the conversation of a payment event does not exist');
    }
  }

  return async (batch: StreamMessage<ReceivedPayment[]>[]): Promise<void> => {
    const events = batch.flatMap(({ value }) => value);
    const stored = await applyInTransaction(db, events);
    await allSettled(notificationsOf(events, stored).map(notifyConversation));
    if (stored.pending.length)
      await markApplied(
        db,
        stored.pending.map(({ key }) => key),
      );
    metrics.records.inc({ stage: 'payments-webhook', outcome: 'ok' }, events.length);
    metrics.batch.observe({ stage: 'payments-webhook' }, events.length);
  };
}

/** Applies and stores a batch in one transaction. Events stored before stay as they are, so a batch may come again. */
function applyInTransaction(db: Database, events: ReceivedPayment[]): Promise<StoredBatch> {
  return db.transaction(async ({ query }) => {
    const { newEvents, requests, keys, requestIds } = await loadBatch(query, events);
    const applied = applyEvents(newEvents, requests);
    if (applied.length) await storeApplied(query, applied, requests);
    const attachments = await readAttachments(query, requestIds);
    await appendEvents(query, ...webhookEvents(applied, attachments));
    return { pending: await readPending(query, keys), requests, attachments };
  });
}

/** Waits for all of them. @throws what the first one that failed threw */
async function allSettled(work: Promise<void>[]): Promise<void> {
  for (const result of await Promise.allSettled(work)) if (result.status === 'rejected') throw result.reason;
}
