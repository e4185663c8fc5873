/**
 * Names every subject, stream and consumer once, as data; `permissions.ts` says which service may use them. Provisioning, the
 * broker's configuration, the workers and the documents read these and nothing else. A description that changes makes the
 * next provisioning update its stream or consumer.
 */
import type { ConsumerConfig, StreamConfig } from '@nats-io/jetstream';
import type { Config } from '../shared/config/index.ts';
import { shardOf } from '../shared/ids.ts';

const pad = (n: number): string => String(n).padStart(2, '0');
const SEC = 1_000_000_000;
const DAY = 86_400 * SEC;

export const INGRESS = 'INGRESS';
export const LOG = 'LOG';
export const EVENTS = 'EVENTS';
export const PAYMENTS = 'PAYMENTS';
export const DEAD = 'DEAD';
export const MARKS = 'MARKS';
export const inboxStream = (shard: number): string => `INBOX_${pad(shard)}`;
/** KV bucket: the cursor map of each inbox shard, see inbox/cursor-map.ts. */
export const LINEAGE_BUCKET = 'lineage';
/** KV bucket: users whose inbox is full, see inbox/full-inboxes.ts. */
export const FULL_BUCKET = 'full';

/** A KV bucket is a stream, laid out as KV clients expect. */
export const bucketStream = (bucket: string): string => `KV_${bucket}`;
/** The subject of a key; `>` stands for all keys. */
export const bucketKey = (bucket: string, key: string | number): string => `$KV.${bucket}.${key}`;

/** Last token of an inbox item's subject when it is addressed to all devices of the user; otherwise it is a device's id. */
export const ALL_DEVICES = 'all';
/** Last token of the subject of signals between edges. */
export const SIGNAL = 'signal';

/** Core subjects are not stored in a stream: a subscriber that is away misses what is published meanwhile. */
export const subject = {
  ingress: (partition: number | '*') => `ingress.${partition}`,
  log: (partition: number | '*') => `log.${partition}`,
  /** Core: answers and statuses for the gateway that submitted the commands. */
  reply: (gateway: string) => `reply.${gateway}`,
  /** Core: history has committed up to an entry of a partition. */
  projected: (partition: number | '*') => `projected.${partition}`,
  /** Core: a person's devices or sessions changed; caches drop what they know. See shared/pipeline/person-event.ts. */
  people: (userId: string) => `people.${userId}`,
  /** `target` is ALL_DEVICES, one device's id, or `*`. */
  inbox: (userId: string, target: string, shards: number) =>
    `inbox.${pad(shardOf(userId, shards))}.${userId}.${target}`,
  inboxesOfShard: (shard: number) => `inbox.${pad(shard)}.*.*`,
  allInboxes: 'inbox.>',
  /** Checkpoints of fanout: the last entry of a partition that all inbox shards have. */
  mark: (partition: number | '*') => `mark.${partition}`,
  /** Core: items republished from the inbox, and signals between edges about one user. */
  live: (userId: string, shards: number) => `live.${pad(shardOf(userId, shards))}.${userId}.>`,
  allLive: 'live.>',
  signal: (userId: string, shards: number) => `live.${pad(shardOf(userId, shards))}.${userId}.${SIGNAL}`,
  allSignals: `live.*.*.${SIGNAL}`,
  /** Events of one type from the outbox, which no log entry caused. */
  event: (type: string) => `events.${type}`,
  /** Events that the entries of a log partition caused. */
  eventsOf: (partition: number) => `events.log.${partition}`,
  allEvents: 'events.>',
  /** Core: how many commands a person has given to a process. */
  commands: 'commands',
  /** Core: devices connected and disconnected. */
  presence: 'presence',
  /** Core: wakes the webhook dispatcher, because a delivery may be due. */
  webhooks: 'webhooks.wake',
  /** Payment events, one message a group. */
  payments: 'payments.events',
  allPayments: 'payments.>',
  dead: (stage: string) => `dead.${stage}`,
  allDead: 'dead.>',
} as const;

/** Returns the two subjects of the items that a device gets: addressed to all devices of its user, or to it alone. */
export const inboxSubjects = (userId: string, deviceId: string, shards: number): string[] => [
  subject.inbox(userId, ALL_DEVICES, shards),
  subject.inbox(userId, deviceId, shards),
];

/** Returns the variable part of `ingress`, `log`, `reply`, `projected`, `people` and `mark`; the target of `inbox` and `live`. */
export const lastToken = (text: string): string => text.slice(text.lastIndexOf('.') + 1);

export const consumer = {
  ingest: (partition: number) => `ingest_${partition}`,
  fanout: (partition: number) => `fanout_${partition}`,
  history: (partition: number) => `history_${partition}`,
  events: (partition: number) => `events_${partition}`,
  webhook: 'webhook',
  payments: 'payments-webhook',
  device: (deviceId: string) => `device_${deviceId}`,
} as const;
/** The priority group of every pinned consumer: exactly one client of it is served at a time. */
export const PIN_GROUP = 'writer';

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
        republish: { src: subject.inboxesOfShard(shard), dest: `live.${pad(shard)}.{{wildcard(1)}}.{{wildcard(2)}}` },
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
