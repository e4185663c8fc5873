/** Who may publish and subscribe what: from here come the users in the broker's configuration. */

import type { Config } from '../shared/config/index.ts';
import type { ServiceName } from '../shared/service-names.ts';
import {
  consumer,
  EVENTS,
  FULL_BUCKET,
  INGRESS,
  inboxStream,
  LINEAGE_BUCKET,
  LOG,
  MARKS,
  PAYMENTS,
} from './topology.ts';

export interface Permissions {
  publish: string[];
  subscribe: string[];
}

/** `$JS.API` calls that a pinned worker needs for its durables. */
const pull = (stream: string, durable: string): string[] => [
  `$JS.API.CONSUMER.INFO.${stream}.${durable}`,
  `$JS.API.CONSUMER.MSG.NEXT.${stream}.${durable}`,
  `$JS.API.CONSUMER.RESET.${stream}.${durable}`,
  `$JS.ACK.${stream}.${durable}.>`,
];
const kvRead = (bucket: string): string[] => [
  `$JS.API.STREAM.INFO.KV_${bucket}`,
  `$JS.API.STREAM.MSG.GET.KV_${bucket}`,
  `$JS.API.DIRECT.GET.KV_${bucket}.>`,
  `$JS.API.DIRECT.GET.KV_${bucket}`,
  `$JS.API.CONSUMER.CREATE.KV_${bucket}.>`,
  `$JS.API.CONSUMER.DELETE.KV_${bucket}.>`,
  `$JS.API.CONSUMER.INFO.KV_${bucket}.>`,
  `$JS.API.CONSUMER.MSG.NEXT.KV_${bucket}.>`,
  `$JS.FC.KV_${bucket}.>`,
];

/** Least subjects per service; `admin` provisions and is used by nobody else. `_INBOX_<user>` is a private inbox. */
export function permissions(
  config: Pick<Config, 'PARTITIONS' | 'INBOX_SHARDS'>,
): Record<ServiceName | 'admin', Permissions> {
  // A wildcard stands for a whole token only: names with a number in them are listed.
  const inboxes = Array.from({ length: config.INBOX_SHARDS }, (_, shard) => inboxStream(shard));
  const onInboxes = (...calls: string[]): string[] =>
    inboxes.flatMap((stream) => calls.map((call) => call.replace('{}', stream)));
  const durables = (name: (partition: number) => string): string[] =>
    Array.from({ length: config.PARTITIONS }, (_, partition) => name(partition)).flatMap((durable) => [
      ...pull(LOG, durable),
      `$JS.API.CONSUMER.CREATE.${LOG}.${durable}.>`,
    ]);
  const infos = (name: (partition: number) => string): string[] =>
    Array.from({ length: config.PARTITIONS }, (_, partition) => `$JS.API.CONSUMER.INFO.${LOG}.${name(partition)}`);
  const own = (service: string): string[] => [`_INBOX_${service}.>`];
  return {
    admin: { publish: ['>'], subscribe: ['>'] },
    edge: {
      publish: [
        'ingress.*',
        'live.*.*.signal',
        'presence',
        'commands',
        '$JS.API.STREAM.INFO.*',
        ...onInboxes(
          '$JS.API.DIRECT.GET.{}',
          '$JS.API.DIRECT.GET.{}.>',
          '$JS.API.STREAM.MSG.GET.{}',
          '$JS.API.CONSUMER.CREATE.{}.>',
          '$JS.API.CONSUMER.INFO.{}.*',
          '$JS.API.CONSUMER.RESET.{}.*',
          '$JS.API.CONSUMER.DELETE.{}.*',
          '$JS.API.CONSUMER.MSG.NEXT.{}.*',
          '$JS.ACK.{}.>',
        ),
        ...kvRead(LINEAGE_BUCKET),
      ],
      subscribe: ['reply.*', 'live.>', 'people.*', 'commands', ...own('edge')],
    },
    api: {
      publish: [
        'ingress.*',
        'people.*',
        'commands',
        'webhooks.wake',
        'payments.>',
        '$JS.API.STREAM.INFO.*',
        // Of people and devices that are gone.
        ...onInboxes('$JS.API.STREAM.PURGE.{}', '$JS.API.CONSUMER.DELETE.{}.*'),
      ],
      subscribe: ['reply.*', 'projected.*', 'people.*', 'commands', ...own('api')],
    },
    ingest: {
      publish: [
        'log.*',
        'reply.*',
        'dead.ingest',
        ...pull(INGRESS, '*'),
        '$JS.API.STREAM.INFO.LOG',
        '$JS.API.DIRECT.GET.LOG',
        '$JS.API.DIRECT.GET.LOG.>',
        '$JS.API.STREAM.INFO.INGRESS',
        // In memory: gone with the broker, made again by whoever needs it first.
        '$JS.API.STREAM.CREATE.INGRESS',
        '$JS.API.CONSUMER.CREATE.INGRESS.>',
        ...kvRead(FULL_BUCKET),
      ],
      subscribe: ['people.*', 'projected.*', ...own('ingest')],
    },
    fanout: {
      publish: [
        'inbox.>',
        'mark.*',
        `$JS.API.DIRECT.GET.${MARKS}`,
        `$JS.API.DIRECT.GET.${MARKS}.>`,
        `$JS.API.STREAM.CREATE.${MARKS}`,
        'reply.*',
        'dead.fanout',
        ...durables(consumer.fanout),
        '$JS.API.STREAM.INFO.*',
        '$JS.API.DIRECT.GET.LOG',
        '$JS.API.DIRECT.GET.LOG.>',
        ...onInboxes(
          '$JS.API.STREAM.CREATE.{}',
          '$JS.API.DIRECT.GET.{}',
          '$JS.API.DIRECT.GET.{}.>',
          '$JS.API.CONSUMER.CREATE.{}',
          '$JS.API.CONSUMER.CREATE.{}.>',
          '$JS.API.CONSUMER.DELETE.{}.>',
          // The queue of a device that was deleted.
          '$JS.API.STREAM.PURGE.{}',
        ),
        ...kvRead(LINEAGE_BUCKET),
        ...kvRead(FULL_BUCKET),
        `$KV.${LINEAGE_BUCKET}.>`,
        `$KV.${FULL_BUCKET}.>`,
      ],
      subscribe: ['people.*', ...own('fanout')],
    },
    history: {
      publish: [
        'projected.*',
        'dead.history',
        ...durables(consumer.history),
        // It removes entries from LOG that all its readers have acknowledged.
        '$JS.API.STREAM.PURGE.LOG',
        ...[consumer.fanout, consumer.events].flatMap((reader) => infos(reader)),
        '$JS.API.STREAM.INFO.LOG',
        '$JS.API.DIRECT.GET.LOG',
        '$JS.API.DIRECT.GET.LOG.>',
      ],
      subscribe: own('history'),
    },
    events: {
      publish: [
        'events.>',
        'dead.events',
        ...durables(consumer.events),
        '$JS.API.STREAM.INFO.LOG',
        '$JS.API.DIRECT.GET.LOG',
        '$JS.API.DIRECT.GET.LOG.>',
        '$JS.API.DIRECT.GET.EVENTS',
        '$JS.API.DIRECT.GET.EVENTS.>',
      ],
      subscribe: own('events'),
    },
    'payments-webhook': {
      publish: [
        'ingress.*',
        'dead.payments-webhook',
        ...pull(PAYMENTS, consumer.payments),
        `$JS.API.CONSUMER.CREATE.PAYMENTS.${consumer.payments}.>`,
      ],
      subscribe: ['reply.*', ...own('payments-webhook')],
    },
    push: {
      publish: [
        ...onInboxes('$JS.API.DIRECT.GET.{}', '$JS.API.DIRECT.GET.{}.>'),
        ...kvRead(LINEAGE_BUCKET),
        '$JS.API.STREAM.INFO.*',
      ],
      subscribe: ['live.>', 'presence', ...own('push')],
    },
    webhook: {
      publish: [
        'dead.webhook',
        ...pull(EVENTS, consumer.webhook),
        `$JS.API.CONSUMER.CREATE.EVENTS.${consumer.webhook}.>`,
        '$JS.API.STREAM.INFO.EVENTS',
        '$JS.API.DIRECT.GET.EVENTS',
        '$JS.API.DIRECT.GET.EVENTS.>',
      ],
      subscribe: ['webhooks.wake', ...own('webhook')],
    },
  };
}
