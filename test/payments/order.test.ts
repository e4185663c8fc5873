/** A payment request ends in the same state for any order and batching of its events. */
import test from 'ava';
import fc from 'fast-check';
import { applyEvents } from '../../services/payments-webhook/handle.ts';
import type { PaymentRequest } from '../../services/payments-webhook/store.ts';
import { PAYMENT_EVENTS, type PaymentEventType, rankOf } from '../../shared/contract/payments.ts';

test('[P03] a request only goes forward, whatever the order of its events', (t) => {
  const types = Object.keys(PAYMENT_EVENTS) as PaymentEventType[];
  fc.assert(
    fc.property(
      fc.array(fc.constantFrom(...types), { minLength: 1, maxLength: 12 }),
      fc.array(fc.nat(11), { maxLength: 11 }),
      (given, cuts) => {
        const requests = new Map<string, PaymentRequest>();
        let before = 0;
        const batches = [0, ...cuts, given.length].sort((a, b) => a - b);
        for (let i = 1; i < batches.length; i++) {
          const part = given.slice(batches[i - 1], batches[i]);
          applyEvents(
            part.map((type, n) => ({ key: `${i} ${n}`, type, request_id: 'r', received_at: n })),
            requests,
          );
          const rank = requests.has('r') ? rankOf(requests.get('r')!.state) : 0;
          if (rank < before) return false;
          before = rank;
        }
        return before === Math.max(...given.map((type) => rankOf(PAYMENT_EVENTS[type])));
      },
    ),
  );
  t.pass();
});
