/**
 * Lists every stream with its limits, its durable consumers and the reason for each, as data. Provisioning, the broker's
 * configuration and the workers read it. A description that changes makes the next provisioning update its stream or consumer.
 */
import type { ConsumerConfig, StreamConfig } from '@nats-io/jetstream';
import type { Config } from '../shared/config/index.ts';
import { consumer, DEAD, EVENTS, INGRESS, inboxStream, LOG, MARKS, PAYMENTS, PIN_GROUP, subject } from './topology.ts';

const SEC = 1_000_000_000;
const DAY = 86_400 * SEC;

export type DurableSpec = Partial<ConsumerConfig> & { durable_name: string };
export interface StreamSpec {
  config: Partial<StreamConfig> & { name: string; subjects: string[] };
  consumers: DurableSpec[];
}

/** Returns the specification of one stream. @throws when topology has no such stream */
export function streamSpec(config: Config, stream: string): StreamSpec {
  const spec = streams(config).find(({ config: { name } }) => name === stream);
  if (!spec) throw new Error(`topology has no stream ${stream}`);
  return spec;
}

/** Returns the specification of one durable consumer. @throws when topology has no such durable */
export function durableSpec(config: Config, stream: string, durableName: string): DurableSpec {
  const spec = streamSpec(config, stream).consumers.find(({ durable_name }) => durable_name === durableName);
  if (!spec) throw new Error(`topology has no durable ${durableName} on stream ${stream}`);
  return spec;
}

const range = (n: number): number[] => Array.from({ length: n }, (_, i) => i);

/** Specifies all streams and their durable consumers. */
export function streams(config: Config): StreamSpec[] {
  const partitions = range(config.PARTITIONS);
  const replicas = config.STREAM_REPLICAS;
  const pinned = (name: string, filter: string, description: string, more: Partial<ConsumerConfig>): DurableSpec => ({
    durable_name: name,
    description,
    filter_subject: filter,
    max_ack_pending: 4096,
    // A new owner learns of the partition by its first delivery: at the latest the redelivery of what the old owner left.
    ack_wait: config.PIN_TIMEOUT_MS * 2 * 1_000_000,
    priority_policy: 'pinned_client',
    priority_groups: [PIN_GROUP],
    priority_timeout: config.PIN_TIMEOUT_MS * 1_000_000,
    ...more,
  });
  return [
    {
      config: {
        name: INGRESS,
        description: 'Commands on their way to ingest. In memory: nothing in it has been promised to anybody.',
        subjects: [subject.ingress('*')],
        retention: 'workqueue',
        storage: 'memory',
        discard: 'new',
        max_bytes: config.INGRESS_MAX_BYTES,
        max_age: Math.max(60, (2 * config.COMMAND_TIMEOUT_MS) / 1000) * SEC,
        max_consumers: config.PARTITIONS,
        num_replicas: replicas,
      },
      consumers: partitions.map((p) =>
        pinned(
          consumer.ingest(p),
          subject.ingress(p),
          `Numbers the conversations of partition ${p}; one active client.`,
          { ack_policy: 'explicit' },
        ),
      ),
    },
    {
      config: {
        name: LOG,
        description: 'The truth: every conversation is its log. One message is one group of records of a partition.',
        subjects: [subject.log('*')],
        retention: 'limits',
        storage: 'file',
        discard: 'old',
        // Age must not remove what a worker has not read: services/history/trim.ts removes what all of them have read.
        max_age: 0,
        max_consumers: 1_000,
        num_replicas: replicas,
        allow_direct: true,
        duplicate_window: SEC,
      },
      consumers: partitions.flatMap((p) => [
        pinned(consumer.fanout(p), subject.log(p), `Writes partition ${p} into the inboxes; one active client.`, {
          ack_policy: 'all',
        }),
        pinned(consumer.history(p), subject.log(p), `Writes partition ${p} into Postgres; one active client.`, {
          ack_policy: 'all',
          // Postgres has the position; on disk the broker would write it ten times a second, each time with an fsync.
          mem_storage: true,
        }),
        pinned(consumer.events(p), subject.log(p), `Tells EVENTS what partition ${p} says; one active client.`, {
          ack_policy: 'all',
          // EVENTS has the position, as Postgres has that of history.
          mem_storage: true,
        }),
      ]),
    },
    ...range(config.INBOX_SHARDS).map((shard) => ({
      config: {
        name: inboxStream(shard),
        description: `Inbox items of the users of shard ${shard}, one a recipient. A projection of LOG: see docs/operations.md.`,
        subjects: [subject.inboxesOfShard(shard)],
        retention: 'limits' as const,
        storage: 'file' as const,
        discard: 'old' as const,
        max_age: config.INBOX_RETENTION_DAYS * DAY,
        // Twice the quota: at the quota senders are refused; at this limit the oldest items go and the device gets `inbox.gap`.
        max_msgs_per_subject: 2 * config.INBOX_QUOTA_ITEMS,
        max_consumers: config.INBOX_MAX_CONSUMERS,
        num_replicas: replicas,
        allow_direct: true,
        allow_batched: true,
        duplicate_window: SEC,
        republish: { src: subject.inboxesOfShard(shard), dest: subject.republished(shard) },
        ...(replicas === 1 ? { persist_mode: 'async' as const } : {}),
      },
      consumers: [],
    })),
    {
      config: {
        name: MARKS,
        description:
          'How far fanout has written each partition into the inbox shards; one mark a second, the last ones are kept.',
        subjects: [subject.mark('*')],
        retention: 'limits',
        storage: 'file',
        discard: 'old',
        // One a second: they reach back further than what the shards, which are written without fsync, can lose.
        max_msgs_per_subject: 300,
        max_consumers: 100,
        num_replicas: replicas,
        allow_direct: true,
        duplicate_window: SEC,
      },
      consumers: [],
    },
    {
      config: {
        name: EVENTS,
        description: 'What happened, for the outside; never ciphertext. One message is one or more lines of JSON.',
        subjects: [subject.allEvents],
        retention: 'limits',
        storage: 'file',
        discard: 'old',
        max_age: config.EVENTS_RETENTION_DAYS * DAY,
        max_consumers: 100,
        num_replicas: replicas,
        allow_direct: true,
        duplicate_window: 120 * SEC,
      },
      consumers: [
        pinned(consumer.webhook, subject.allEvents, 'Makes deliveries of events; one active client.', {
          ack_policy: 'all',
        }),
      ],
    },
    {
      config: {
        name: PAYMENTS,
        description: 'Payment events that were acknowledged to their sender; applied to requests and conversations.',
        subjects: [subject.allPayments],
        retention: 'limits',
        storage: 'file',
        discard: 'new',
        max_age: config.PAYMENTS_RETENTION_DAYS * DAY,
        max_bytes: config.PAYMENTS_MAX_BYTES,
        max_consumers: 100,
        num_replicas: replicas,
        allow_direct: true,
        // Postgres recognises repetitions for ever.
        duplicate_window: SEC,
      },
      consumers: [
        pinned(consumer.payments, subject.allPayments, 'Applies payment events in their order; one active client.', {
          ack_policy: 'all',
        }),
      ],
    },
    {
      config: {
        name: DEAD,
        description: 'What no worker could handle, with the reason in its headers.',
        subjects: [subject.allDead],
        retention: 'limits',
        storage: 'file',
        max_age: 90 * DAY,
        max_bytes: config.DEAD_MAX_BYTES,
        max_consumers: 100,
        num_replicas: replicas,
      },
      consumers: [],
    },
  ];
}
