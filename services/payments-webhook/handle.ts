/**
 * Decides what a batch of payment events does: which requests it moves and how far, what webhooks hear of it, and which
 * conversations are to be told. Pure. The order of arrival does not matter for where a request ends.
 */
import { PAYMENT_EVENTS, type PaymentState, rankOf } from '../../shared/contract/payments.ts';
import type { OutboxEvent } from '../../shared/db/outbox.ts';
import type { ReceivedPayment } from '../../shared/pipeline/payments.ts';
import type { AppliedEvent, Attachment, PaymentRequest, StoredBatch } from './store.ts';

/**
 * Applies new events one after the other.
 * @param requests as they are now; changed in place.
 */
export function applyEvents(events: ReceivedPayment[], requests: Map<string, PaymentRequest>): AppliedEvent[] {
  return events.map((event) => {
    const { request_id, type, transfer_id = null, received_at } = event;
    const state = PAYMENT_EVENTS[type];
    const at = new Date(received_at);
    const known = requests.get(request_id);
    const moved = !known || rankOf(state) > rankOf(known.state);
    if (moved)
      requests.set(request_id, {
        request_id,
        state,
        transfer_id: transfer_id ?? known?.transfer_id ?? null,
        created_at: known?.created_at ?? at,
        updated_at: at,
      });
    return { event, state, moved };
  });
}

/** The events for webhooks: one for each step of a request in each of its conversations. */
export function webhookEvents(
  applied: AppliedEvent[],
  attachments: ReadonlyMap<string, Attachment[]>,
): OutboxEvent<'chat.payment.updated'>[] {
  return applied.flatMap(({ event, state, moved }) => {
    if (!moved) return [];
    const { request_id, transfer_id, received_at } = event;
    const data = { request_id, state, ...(transfer_id === undefined ? {} : { transfer_id }) };
    const one = { type: 'chat.payment.updated' as const, at: new Date(received_at), data };
    const places = attachments.get(request_id);
    return (
      places?.map(({ conversation_id }) => ({ ...one, conversation_id, data: { ...data, conversation_id } })) ?? [one]
    );
  });
}

/** A conversation that is to be told how far a request has come. */
export interface Notification {
  request_id: string;
  attachment: Attachment;
  state: PaymentState;
  transfer_id: string | null;
  /** Also when the conversation has recorded this state already. */
  isRepeat: boolean;
}

/** The notices for the conversations of a batch: each pending step, and each request that an operator replays. */
export function notificationsOf(
  batch: ReceivedPayment[],
  { pending, requests, attachments }: StoredBatch,
): Notification[] {
  const replayed = new Set(batch.flatMap(({ replay, request_id }) => (replay ? [request_id] : [])));
  const attached = new Set(batch.flatMap(({ conversation_id, request_id }) => (conversation_id ? [request_id] : [])));
  const out: Notification[] = [];
  const add = (
    request_id: string,
    { state, transfer_id }: Pick<PaymentRequest, 'state' | 'transfer_id'>,
    isRepeat: boolean,
  ): void => {
    for (const attachment of attachments.get(request_id) ?? [])
      out.push({ request_id, attachment, state, transfer_id, isRepeat });
  };
  for (const event of pending) {
    if (!event.moved && !attached.has(event.request_id)) continue;
    // A late event that puts the request into a conversation tells the conversation the present state.
    add(event.request_id, event.moved ? event : requests.get(event.request_id)!, false);
  }
  for (const request of replayed) {
    const known = requests.get(request);
    if (known) add(request, known, true);
  }
  return out;
}
