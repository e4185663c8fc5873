/** The Prometheus metrics of a process. */
import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from 'prom-client';

/** Buckets of durations, seconds: from 0.25 ms to 10 s, the range of one hop of the pipeline. */
const SECONDS = [0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10];
/** Buckets of batch sizes. */
const SIZES = [1, 2, 5, 10, 25, 50, 100, 250, 500, 1000, 2500];

export type Metrics = ReturnType<typeof createMetrics>;

/** Makes the metrics. Labels are stages and outcomes, never people or conversations. */
export function createMetrics() {
  const registry = new Registry();
  collectDefaultMetrics({ register: registry });
  const at = { registers: [registry] };
  return {
    registry,
    records: new Counter({
      name: 'sealwire_records_total',
      help: 'Records handled, by stage and outcome',
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
      help: 'Duration of a batch in a stage, seconds',
      labelNames: ['stage'],
      buckets: SECONDS,
      ...at,
    }),
    lag: new Gauge({
      name: 'sealwire_lag_entries',
      help: 'Entries that a durable consumer has not acknowledged, as reported by the broker; absent while the broker does not answer',
      labelNames: ['stage', 'partition'],
      ...at,
    }),
    oldest: new Gauge({
      name: 'sealwire_oldest_unacknowledged_seconds',
      help: 'Age of the oldest entry that a durable consumer has not acknowledged (for INGRESS and PAYMENTS: time since its position last moved with work to do); 0 when there is none',
      labelNames: ['stage', 'partition'],
      ...at,
    }),
    ready: new Gauge({
      name: 'sealwire_ready',
      help: '1 while this process works on the partition or stands by for it, 0 while /ready reports a problem with it',
      labelNames: ['stage', 'partition'],
      ...at,
    }),
    lastBatch: new Gauge({
      name: 'sealwire_last_batch_timestamp_seconds',
      help: 'Time at which this process last finished a batch, seconds since 1970',
      labelNames: ['stage', 'partition'],
      ...at,
    }),
    stopped: new Gauge({
      name: 'sealwire_stopped',
      help: '1 while a worker has stopped a partition, because going on would lose or falsify data',
      labelNames: ['stage', 'partition'],
      ...at,
    }),
    takeovers: new Counter({
      name: 'sealwire_takeovers_total',
      help: 'Times that this process took over a partition, or restored its state because it could not trust its memory',
      labelNames: ['stage', 'partition'],
      ...at,
    }),
    payments: new Counter({
      name: 'sealwire_payment_webhooks_total',
      help: 'Payment events received, by outcome',
      labelNames: ['outcome'],
      ...at,
    }),
    brokerRefuses: new Gauge({
      name: 'sealwire_broker_refuses_seconds',
      help: 'Time since the broker began to refuse what this process publishes, while it answers; 0 while it accepts',
      ...at,
    }),
    sockets: new Gauge({ name: 'sealwire_sockets', help: 'Open sockets', ...at }),
    closed: new Counter({
      name: 'sealwire_sockets_closed_total',
      help: 'Sockets closed, by close code',
      labelNames: ['code'],
      ...at,
    }),
    http: new Histogram({
      name: 'sealwire_http_seconds',
      help: 'Duration of HTTP requests, seconds',
      labelNames: ['method', 'route', 'status'],
      buckets: SECONDS,
      ...at,
    }),
    passwords: new Histogram({
      name: 'sealwire_password_seconds',
      help: 'Duration of hashing or comparing a password, with the time in the queue, seconds',
      buckets: SECONDS,
      ...at,
    }),
    webhookAttempts: new Counter({
      name: 'sealwire_webhook_attempts_total',
      help: 'Attempts to deliver an event to an endpoint',
      labelNames: ['outcome', 'reason'],
      ...at,
    }),
    webhookSeconds: new Histogram({
      name: 'sealwire_webhook_seconds',
      help: 'Duration of an attempt to deliver an event, seconds',
      labelNames: ['outcome'],
      buckets: SECONDS,
      ...at,
    }),
    dead: new Counter({
      name: 'sealwire_dead_letters_total',
      help: 'Messages that became dead letters',
      labelNames: ['stage', 'reason'],
      ...at,
    }),
  };
}
