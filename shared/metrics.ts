import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from 'prom-client';

/** Seconds; from 0.25 ms to 10 s, the span in which a hop of the pipeline can lie. */
const SECONDS = [0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10];
const SIZES = [1, 2, 5, 10, 25, 50, 100, 250, 500, 1000, 2500];

export type Metrics = ReturnType<typeof createMetrics>;

/** Prometheus metrics of one process. Labels are stages and outcomes, never people or conversations. */
export function createMetrics() {
  const registry = new Registry();
  collectDefaultMetrics({ register: registry });
  const at = { registers: [registry] };
  return {
    registry,
    records: new Counter({
      name: 'sealwire_records_total',
      help: 'Records handled',
      labelNames: ['stage', 'outcome'],
      ...at,
    }),
    batch: new Histogram({
      name: 'sealwire_batch_records',
      help: 'Records per batch',
      labelNames: ['stage'],
      buckets: SIZES,
      ...at,
    }),
    seconds: new Histogram({
      name: 'sealwire_batch_seconds',
      help: 'Time that a batch took in a stage',
      labelNames: ['stage'],
      buckets: SECONDS,
      ...at,
    }),
    lag: new Gauge({
      name: 'sealwire_lag_entries',
      help: 'Entries that a durable has not acknowledged, as the broker says; absent while the broker does not say',
      labelNames: ['stage', 'partition'],
      ...at,
    }),
    oldest: new Gauge({
      name: 'sealwire_oldest_unacknowledged_seconds',
      help: 'Age of the oldest entry that a durable has not acknowledged (of INGRESS and PAYMENTS: how long its position has stood still with work to do); 0 when there is none',
      labelNames: ['stage', 'partition'],
      ...at,
    }),
    ready: new Gauge({
      name: 'sealwire_ready',
      help: '1 while this process works the partition or stands by for it, 0 while /ready names it',
      labelNames: ['stage', 'partition'],
      ...at,
    }),
    lastBatch: new Gauge({
      name: 'sealwire_last_batch_timestamp_seconds',
      help: 'When this process last finished a batch, seconds since 1970',
      labelNames: ['stage', 'partition'],
      ...at,
    }),
    stopped: new Gauge({
      name: 'sealwire_stopped',
      help: '1 where a worker has stopped a partition, because to go on would lose or falsify something',
      labelNames: ['stage', 'partition'],
      ...at,
    }),
    takeovers: new Counter({
      name: 'sealwire_takeovers_total',
      help: 'Times that this process took a partition, or took it again because it could not trust its memory',
      labelNames: ['stage', 'partition'],
      ...at,
    }),
    payments: new Counter({
      name: 'sealwire_payment_webhooks_total',
      help: 'Payment events that were sent to us',
      labelNames: ['outcome'],
      ...at,
    }),
    brokerRefuses: new Gauge({
      name: 'sealwire_broker_refuses_seconds',
      help: 'For how long the broker has answered and refused what this process publishes; 0 while it does not',
      ...at,
    }),
    sockets: new Gauge({ name: 'sealwire_sockets', help: 'Open sockets', ...at }),
    closed: new Counter({ name: 'sealwire_sockets_closed_total', help: 'Sockets closed', labelNames: ['code'], ...at }),
    http: new Histogram({
      name: 'sealwire_http_seconds',
      help: 'HTTP requests',
      labelNames: ['method', 'route', 'status'],
      buckets: SECONDS,
      ...at,
    }),
    passwords: new Histogram({
      name: 'sealwire_password_seconds',
      help: 'Passwords hashed or compared, with the time that they waited for their turn',
      buckets: SECONDS,
      ...at,
    }),
    webhookAttempts: new Counter({
      name: 'sealwire_webhook_attempts_total',
      help: 'Attempts to deliver an event',
      labelNames: ['outcome', 'reason'],
      ...at,
    }),
    webhookSeconds: new Histogram({
      name: 'sealwire_webhook_seconds',
      help: 'Time that an attempt took',
      labelNames: ['outcome'],
      buckets: SECONDS,
      ...at,
    }),
    dead: new Counter({
      name: 'sealwire_dead_letters_total',
      help: 'Dead letters',
      labelNames: ['stage', 'reason'],
      ...at,
    }),
  };
}
