/**
 * Names every subject, stream and consumer once; `streams.ts` has the limits of streams and consumers, `permissions.ts` says
 * which service may use them. Nothing outside this folder types a subject.
 */
import { shardOf } from '../shared/ids.ts';

const pad = (n: number): string => String(n).padStart(2, '0');

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
  /** JetStream republishes the items of a shard there: tokens 1 and 2 are the user and the target of the item's subject. */
  republished: (shard: number) => `live.${pad(shard)}.{{wildcard(1)}}.{{wildcard(2)}}`,
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
