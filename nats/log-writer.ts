/** What all readers of LOG share: the durable that topology names for them, and how entries are read. */
import type { NatsConnection } from 'nats';
import type { Context } from '../shared/lifecycle.ts';
import { decodeEntry, type LogRecord } from '../shared/pipeline/entry.ts';
import { Writer, type WriterOptions } from './consume.ts';
import { consumer, LOG, streams } from './topology.ts';

type Own = Pick<WriterOptions<LogRecord[]>, 'window' | 'apartMs' | 'takeOver' | 'handle'>;

/** One writer for each partition of LOG, by `own(partition)`. */
export function logWriters(
  nc: NatsConnection,
  { config, log, metrics }: Context,
  stage: 'fanout' | 'history' | 'events',
  own: (partition: number) => Own,
): Writer<LogRecord[]>[] {
  const { consumers } = streams(config).find((stream) => stream.config.name === LOG)!;
  return Array.from({ length: config.PARTITIONS }, (_, partition) => {
    const durable = consumer[stage](partition);
    return new Writer<LogRecord[]>(nc, {
      stage,
      partition,
      stream: LOG,
      consumer: consumers.find(({ durable_name }) => durable_name === durable)!,
      direct: true,
      stuckMs: config.READY_STUCK_MS,
      log,
      metrics,
      decode: decodeEntry,
      ...own(partition),
    });
  });
}
