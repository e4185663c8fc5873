/** What payment events do: which request they move, and how far. Pure; order of arrival does not matter in the end. */
import { PAYMENT_EVENTS, type PaymentState, rankOf } from '../../shared/contract/payments.ts';
import type { ReceivedPayment } from '../../shared/pipeline/payments.ts';

export interface Request {
  request_id: string;
  state: PaymentState;
  transfer_id: string | null;
  created_at: Date;
  updated_at: Date;
}

/** An event that was not known, and what it did. */
export interface Applied {
  event: ReceivedPayment;
  state: PaymentState;
  /** False when its request had come that far already. */
  moved: boolean;
}

/**
 * Applies new events one after the other.
 * @param requests as they are now; changed in place.
 */
export function apply(events: ReceivedPayment[], requests: Map<string, Request>): Applied[] {
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
