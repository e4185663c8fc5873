import { advanced, count, optional, type Setting } from '../kinds.ts';

/** Settings of payments. */
export const PAYMENTS = {
  PAYMENTS_WEBHOOK_SECRET: optional(
    'Secret with which the payment provider signs POST /payments/webhooks. Outside production it is derived from NATS_SECRET by default. Without a secret the route answers 404.',
  ),
  PAYMENTS_RETENTION_DAYS: count(30, 'How long the stream PAYMENTS keeps events, applied or not, days.', 1),
  PAYMENTS_MAX_BYTES: count(
    256 << 20,
    'Most bytes of payment events in the stream PAYMENTS; the broker reserves them on its disk. Beyond, new events are refused as unavailable, and the provider has to send them again.',
    1 << 20,
  ),
  ...advanced({
    PAYMENTS_MAX_BODY_BYTES: count(65_536, 'Largest payment event, bytes. A larger one is refused.', 1),
    PAYMENTS_WINDOW_SEC: count(
      300,
      'Most that X-Webhook-Ts may differ from the clock of the api, either way, seconds. Other events are refused, as they may be replayed.',
      1,
    ),
  }),
} as const satisfies Record<string, Setting<unknown>>;
