/** Who may publish and subscribe what: from here come the users in the broker's configuration. */
import type { ServiceName } from '../shared/lifecycle.ts';
import { FULL_BUCKET, INGRESS, LINEAGE_BUCKET, LOG } from './topology.ts';

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
  `$JS.API.DIRECT.GET.KV_${bucket}.>`,
  `$JS.API.DIRECT.GET.KV_${bucket}`,
  `$JS.API.CONSUMER.CREATE.KV_${bucket}.>`,
  `$JS.API.CONSUMER.DELETE.KV_${bucket}.>`,
  `$JS.API.CONSUMER.INFO.KV_${bucket}.>`,
  `$JS.API.CONSUMER.MSG.NEXT.KV_${bucket}.>`,
  `$JS.FC.KV_${bucket}.>`,
];

/** Least subjects per service; `admin` provisions and is used by nobody else. `_INBOX_<user>` is a private inbox. */
export function permissions(): Record<ServiceName | 'admin', Permissions> {
  const own = (service: string): string[] => [`_INBOX_${service}.>`];
  return {
    admin: { publish: ['>'], subscribe: ['>'] },
    edge: {
      publish: [
        'ingress.*',
        'live.*.*.signal',
        '$JS.API.STREAM.INFO.*',
        '$JS.API.DIRECT.GET.INBOX_*',
        '$JS.API.DIRECT.GET.INBOX_*.>',
        '$JS.API.CONSUMER.CREATE.INBOX_*.>',
        '$JS.API.CONSUMER.INFO.INBOX_*.*',
        '$JS.API.CONSUMER.RESET.INBOX_*.*',
        '$JS.API.CONSUMER.DELETE.INBOX_*.*',
        '$JS.API.CONSUMER.MSG.NEXT.INBOX_*.*',
        '$JS.ACK.INBOX_*.>',
        ...kvRead(LINEAGE_BUCKET),
      ],
      subscribe: ['reply.*', 'live.>', ...own('edge')],
    },
    api: {
      publish: ['ingress.*', 'people.*', '$JS.API.STREAM.INFO.*'],
      subscribe: ['reply.*', 'projected.*', ...own('api')],
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
        'mark.>',
        'reply.*',
        'dead.fanout',
        ...pull(LOG, 'fanout_*'),
        '$JS.API.STREAM.INFO.*',
        '$JS.API.STREAM.CREATE.INBOX_*',
        '$JS.API.DIRECT.GET.LOG',
        '$JS.API.DIRECT.GET.LOG.>',
        '$JS.API.DIRECT.GET.INBOX_*',
        '$JS.API.DIRECT.GET.INBOX_*.>',
        '$JS.API.CONSUMER.CREATE.INBOX_*.>',
        '$JS.API.CONSUMER.DELETE.INBOX_*.>',
        ...kvRead(LINEAGE_BUCKET),
        ...kvRead(FULL_BUCKET),
        `$KV.${LINEAGE_BUCKET}.>`,
        `$KV.${FULL_BUCKET}.>`,
      ],
      subscribe: own('fanout'),
    },
    history: {
      publish: ['projected.*', 'dead.history', ...pull(LOG, 'history_*'), '$JS.API.STREAM.INFO.LOG'],
      subscribe: own('history'),
    },
  };
}
