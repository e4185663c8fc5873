import { count, optional, type Setting } from '../kinds.ts';

/** Settings: Payments. */
export const PAYMENTS = {
  PAYMENTS_WEBHOOK_SECRET: optional(
    'Signs what POST /payments/webhooks takes; outside production one follows from NATS_SECRET. Without any: 404.',
  ),
  PAYMENTS_MAX_BODY_BYTES: count(65_536, 'Largest payment event, bytes.', 1),
  PAYMENTS_WINDOW_SEC: count(300, 'How far X-Webhook-Ts may be off our clock, either way, seconds.', 1),
  PAYMENTS_RETENTION_DAYS: count(30, 'How long PAYMENTS keeps events, applied or not.', 1),
  PAYMENTS_MAX_BYTES: count(
    256 << 20,
    'Bytes of payment events kept, which the broker reserves on its disk; beyond, senders are told to come again.',
    1 << 20,
  ),
  PAYMENTS_WINDOW: count(256, 'Payment notices that payments-webhook pulls ahead.', 1),
} as const satisfies Record<string, Setting<unknown>>;
