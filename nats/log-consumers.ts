/** What all readers of LOG share: the durable that topology names for them, and how entries are read. */
import type { NatsConnection } from 'nats';
import { decodeEntry, type LogRecord } from '../shared/pipeline/entry.ts';
import { unknownKind } from '../shared/pipeline/kinds.ts';
import type { Context } from '../shared/service.ts';
import { Halt, PartitionConsumer, type PartitionConsumerOptions } from './partition-consumer.ts';
import { consumer, LOG, streams } from './topology.ts';

type Own = Pick<PartitionConsumerOptions<LogRecord[]>, 'window' | 'apartMs' | 'takeOver' | 'handle'>;

/** One writer for each partition of LOG, by `own(partition)`. */
export function logConsumers(
  nc: NatsConnection,
  { config, log, metrics }: Context,
  stage: 'fanout' | 'history' | 'events',
  own: (partition: number) => Own,
): PartitionConsumer<LogRecord[]>[] {
  const { consumers } = streams(config).find((stream) => stream.config.name === LOG)!;
  return Array.from({ length: config.PARTITIONS }, (_, partition) => {
    const durable = consumer[stage](partition);
    const mine = own(partition);
    return new PartitionConsumer<LogRecord[]>(nc, {
      stage,
      partition,
      stream: LOG,
      consumer: consumers.find(({ durable_name }) => durable_name === durable)!,
      direct: true,
      chained: true,
      givenUp: givenUp(config, stage, partition),
      stuckMs: config.READY_STUCK_MS,
      log,
      metrics,
      decode: decodeEntry,
      ...mine,
      handle: refuseUnknown(mine.handle),
    });
  });
}

/** A projection that passed over what it does not know would miss it for ever, also after it was updated. */
function refuseUnknown(handle: Own['handle']): Own['handle'] {
  return async (batch, fence) => {
    const kind = unknownKind(batch.flatMap(({ value }) => value));
    if (kind !== undefined)
      throw new Halt(`an entry holds a record of kind ${kind}, which this version does not know: update this service`, {
        letter: false,
      });
    await handle(batch, fence);
  };
}

/** As LOG_ACCEPT_MISSING says, e.g. `history:0:57`. */
function givenUp({ LOG_ACCEPT_MISSING }: Context['config'], stage: string, partition: number): number {
  const own = `${stage}:${partition}:`;
  return Number(LOG_ACCEPT_MISSING.find((one) => one.startsWith(own))?.slice(own.length) ?? 0);
}
