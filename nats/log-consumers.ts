/** Creates the consumers of LOG that fanout, history and events share in all but their handlers. */
import type { NatsConnection } from 'nats';
import { decodeEntry, type LogRecord } from '../shared/pipeline/entry.ts';
import { unknownKind } from '../shared/pipeline/kinds.ts';
import type { Context } from '../shared/service.ts';
import { HaltRequired, PartitionConsumer } from './partition-consumer.ts';
import type { PartitionConsumerOptions } from './partition-consumer-options.ts';
import { durableSpec } from './streams.ts';
import { consumer, LOG } from './topology.ts';

type StageOptions = Pick<PartitionConsumerOptions<LogRecord[]>, 'window' | 'apartMs' | 'restore' | 'handle'>;

/** Creates one consumer for each partition of LOG; `optionsOf` gives what the stage does with a partition. */
export function createLogConsumers(
  nc: NatsConnection,
  { config, log, metrics }: Context,
  stage: 'fanout' | 'history' | 'events',
  optionsOf: (partition: number) => StageOptions,
): PartitionConsumer<LogRecord[]>[] {
  return Array.from({ length: config.PARTITIONS }, (_, partition) => {
    const options = optionsOf(partition);
    return new PartitionConsumer<LogRecord[]>(nc, {
      stage,
      partition,
      stream: LOG,
      consumer: durableSpec(config, LOG, consumer[stage](partition)),
      direct: true,
      chained: true,
      acceptMissingUpTo: acceptedMissing(config, stage, partition),
      stuckMs: config.READY_STUCK_MS,
      log,
      metrics,
      decode: decodeEntry,
      ...options,
      handle: haltOnUnknownKind(options.handle),
    });
  });
}

/** Stops at a kind that this version does not know: a projection that skipped it would lack it also after an update. */
function haltOnUnknownKind(handle: StageOptions['handle']): StageOptions['handle'] {
  return async (batch, confirmPin) => {
    const kind = unknownKind(batch.flatMap(({ value }) => value));
    if (kind !== undefined)
      throw new HaltRequired(
        `an entry holds a record of kind ${kind}, which this version does not know: update this service`,
        { storesDeadLetter: false },
      );
    await handle(batch, confirmPin);
  };
}

/** Reads from LOG_ACCEPT_MISSING (such as `history:0:57`) up to which entry a stage may lack entries; 0 when it names none. */
function acceptedMissing({ LOG_ACCEPT_MISSING }: Context['config'], stage: string, partition: number): number {
  const prefix = `${stage}:${partition}:`;
  const accepted = LOG_ACCEPT_MISSING.find((text) => text.startsWith(prefix));
  return Number(accepted?.slice(prefix.length) ?? 0);
}
