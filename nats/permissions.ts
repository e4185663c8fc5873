/** Grants each service the subjects that it may publish and subscribe to. The users of the broker's configuration come from here. */
import type { Config } from '../shared/config/index.ts';
import type { ServiceName } from '../shared/service-names.ts';
import { inboxPrefix } from './connect.ts';
import { jsApi } from './js-api.ts';
import {
  bucketKey,
  bucketStream,
  consumer,
  EVENTS,
  FULL_BUCKET,
  INGRESS,
  inboxStream,
  LINEAGE_BUCKET,
  LOG,
  MARKS,
  PAYMENTS,
  subject,
} from './topology.ts';

export interface Permissions {
  publish: string[];
  subscribe: string[];
}

/** Grants a pinned worker the use of its durable. */
const work = (stream: string, durable: string): string[] => [
  jsApi.consumerInfo(stream, durable),
  jsApi.consumerNext(stream, durable),
  jsApi.consumerReset(stream, durable),
  jsApi.acks(stream, durable),
];
const readDirect = (stream: string): string[] => [jsApi.directGet(stream), jsApi.directGetLast(stream, '>')];
const readBucket = (bucket: string): string[] => {
  const stream = bucketStream(bucket);
  return [
    jsApi.streamInfo(stream),
    jsApi.streamMessage(stream),
    jsApi.directGetLast(stream, '>'),
    jsApi.directGet(stream),
    jsApi.consumerCreate(stream, '>'),
    jsApi.consumerDelete(stream, '>'),
    jsApi.consumerInfo(stream, '>'),
    jsApi.consumerNext(stream, '>'),
    jsApi.flowControl(stream),
  ];
};

/** Least subjects per service; `admin` provisions and no service uses it. `_INBOX_<user>` is a private inbox. */
export function permissions(
  config: Pick<Config, 'PARTITIONS' | 'INBOX_SHARDS'>,
): Record<ServiceName | 'admin', Permissions> {
  // A wildcard stands for a whole token only: names with a number in them are listed.
  const inboxes = Array.from({ length: config.INBOX_SHARDS }, (_, shard) => inboxStream(shard));
  const onInboxes = (calls: (stream: string) => string[]): string[] => inboxes.flatMap(calls);
  const onPartitions = (grants: (partition: number) => string[]): string[] =>
    Array.from({ length: config.PARTITIONS }, (_, partition) => grants(partition)).flat();
  const logDurables = (name: (partition: number) => string): string[] =>
    onPartitions((partition) => [...work(LOG, name(partition)), jsApi.consumerCreate(LOG, `${name(partition)}.>`)]);
  const own = (service: ServiceName): string[] => [`${inboxPrefix(service)}.>`];
  return {
    admin: { publish: ['>'], subscribe: ['>'] },
    edge: {
      publish: [
        subject.ingress('*'),
        subject.allSignals,
        subject.presence,
        subject.commands,
        jsApi.streamInfo('*'),
        ...onInboxes((stream) => [
          ...readDirect(stream),
          jsApi.streamMessage(stream),
          jsApi.consumerCreate(stream, '>'),
          jsApi.consumerInfo(stream, '*'),
          jsApi.consumerReset(stream, '*'),
          jsApi.consumerDelete(stream, '*'),
          jsApi.consumerNext(stream, '*'),
          jsApi.acks(stream),
        ]),
        ...readBucket(LINEAGE_BUCKET),
      ],
      subscribe: [subject.reply('*'), subject.allLive, subject.people('*'), subject.commands, ...own('edge')],
    },
    api: {
      publish: [
        subject.ingress('*'),
        subject.people('*'),
        subject.commands,
        subject.webhooks,
        subject.allPayments,
        jsApi.streamInfo('*'),
        // For the inboxes of deleted users.
        ...onInboxes((stream) => [jsApi.streamPurge(stream), jsApi.consumerDelete(stream, '*')]),
      ],
      subscribe: [subject.reply('*'), subject.projected('*'), subject.people('*'), subject.commands, ...own('api')],
    },
    ingest: {
      publish: [
        subject.log('*'),
        subject.reply('*'),
        subject.dead('ingest'),
        ...work(INGRESS, '*'),
        jsApi.streamInfo(LOG),
        ...readDirect(LOG),
        jsApi.streamInfo(INGRESS),
        // A stream in memory is gone when the broker restarts; the first worker that needs it makes it again.
        jsApi.streamCreate(INGRESS),
        jsApi.consumerCreate(INGRESS, '>'),
        ...readBucket(FULL_BUCKET),
      ],
      subscribe: [subject.people('*'), subject.projected('*'), ...own('ingest')],
    },
    fanout: {
      publish: [
        subject.allInboxes,
        subject.mark('*'),
        ...readDirect(MARKS),
        jsApi.streamCreate(MARKS),
        subject.reply('*'),
        subject.dead('fanout'),
        ...logDurables(consumer.fanout),
        jsApi.streamInfo('*'),
        ...readDirect(LOG),
        ...onInboxes((stream) => [
          jsApi.streamCreate(stream),
          ...readDirect(stream),
          jsApi.consumerCreate(stream),
          jsApi.consumerCreate(stream, '>'),
          jsApi.consumerDelete(stream, '>'),
          // For the items of deleted devices.
          jsApi.streamPurge(stream),
        ]),
        ...readBucket(LINEAGE_BUCKET),
        ...readBucket(FULL_BUCKET),
        bucketKey(LINEAGE_BUCKET, '>'),
        bucketKey(FULL_BUCKET, '>'),
      ],
      subscribe: [subject.people('*'), ...own('fanout')],
    },
    history: {
      publish: [
        subject.projected('*'),
        subject.dead('history'),
        ...logDurables(consumer.history),
        // It removes entries from LOG that all its readers have acknowledged.
        jsApi.streamPurge(LOG),
        ...[consumer.fanout, consumer.events].flatMap((reader) =>
          onPartitions((partition) => [jsApi.consumerInfo(LOG, reader(partition))]),
        ),
        jsApi.streamInfo(LOG),
        ...readDirect(LOG),
      ],
      subscribe: own('history'),
    },
    events: {
      publish: [
        subject.allEvents,
        subject.dead('events'),
        ...logDurables(consumer.events),
        jsApi.streamInfo(LOG),
        ...readDirect(LOG),
        ...readDirect(EVENTS),
      ],
      subscribe: own('events'),
    },
    'payments-webhook': {
      publish: [
        subject.ingress('*'),
        subject.dead('payments-webhook'),
        ...work(PAYMENTS, consumer.payments),
        jsApi.consumerCreate(PAYMENTS, `${consumer.payments}.>`),
      ],
      subscribe: [subject.reply('*'), ...own('payments-webhook')],
    },
    push: {
      publish: [...onInboxes(readDirect), ...readBucket(LINEAGE_BUCKET), jsApi.streamInfo('*')],
      subscribe: [subject.allLive, subject.presence, ...own('push')],
    },
    webhook: {
      publish: [
        subject.dead('webhook'),
        ...work(EVENTS, consumer.webhook),
        jsApi.consumerCreate(EVENTS, `${consumer.webhook}.>`),
        jsApi.streamInfo(EVENTS),
        ...readDirect(EVENTS),
      ],
      subscribe: [subject.webhooks, ...own('webhook')],
    },
  };
}
