/** Finds where the worker of a partition continues in the log, from its checkpoints and from what the shards still hold. */
import type { NatsConnection } from 'nats';
import type { Logger } from 'pino';
import { type CursorMap, cursorOf, newestBase } from '../../nats/inbox/cursor-map.ts';
import { jetstreamManager } from '../../nats/jetstream-manager.ts';
import { readDirectBatch, readLogHead } from '../../nats/log-reader.ts';
import { consumer, LOG, subject } from '../../nats/topology.ts';
import { readCheckpoints, readShardProgress } from './checkpoints.ts';

export interface PartitionStart {
  /** The log sequence to begin at; undefined: nothing is missing, the consumer's ack floor. */
  from: number | undefined;
  /** By shard: the last entry that it has; -1 where that is unknown. */
  writtenUpTo: number[];
  /** By shard: the cursor of that. */
  cursors: number[];
  /** The last entry of the partition. */
  head: number;
  /** Creation time of the LOG. */
  log: string;
  /** There is no checkpoint, or the newest one is for another broker process. */
  isUncertain: boolean;
}
/** When a stream is gone as a whole, the items of this time are written again; for older items devices are told a gap. */
const REWRITE_MS = 120_000;

/** Returns the cursor of a sequence; of the beginning of the newest generation where it is not known. */
function cursorAt(map: CursorMap, seq: number | undefined): number {
  return (seq === undefined ? 0 : cursorOf(map, seq)) || newestBase(map) + map.generations.at(-1)!.from - 1;
}

/** `serverNow` names the broker process that is connected when it is called. `maps`: the cursor map of each shard. */
export async function findPartitionStart(
  nc: NatsConnection,
  partition: number,
  serverNow: () => string,
  maps: readonly CursorMap[],
  log: Logger,
): Promise<PartitionStart> {
  const manager = await jetstreamManager(nc);
  const { head, created } = await readLogHead(nc, partition);
  const info = await manager.consumers.info(LOG, consumer.fanout(partition));
  const floor = Math.min(info.ack_floor.stream_seq, head);
  // A log that was made again counts from 1, so its old checkpoints say nothing.
  const checkpoints = (await readCheckpoints(nc, partition)).filter((checkpoint) => checkpoint.log === created);
  const progress = await Promise.all(
    maps.map((map, shard) => readShardProgress(nc, shard, partition, map, checkpoints)),
  );
  const writtenUpTo = progress.map(({ entry }) => entry);
  const cursors = progress.map(({ entry, seq }, shard) => cursorAt(maps[shard]!, entry < 0 ? undefined : seq));
  const isUncertain = checkpoints[0]?.server !== serverNow();
  const known = writtenUpTo.filter((entry) => entry >= 0);
  let from = Math.min(...known, Number.MAX_SAFE_INTEGER) + 1;
  // The same broker process has lost nothing: what was acknowledged is written, also where the durable was made again.
  if (!isUncertain) from = Math.max(from, floor + 1);
  if (known.length < writtenUpTo.length)
    from = Math.min(from, floor + 1, await firstEntryAfter(nc, partition, Date.now() - REWRITE_MS));
  const found = { writtenUpTo, cursors, head, log: created, isUncertain };
  if (from > head) return { from: isUncertain ? undefined : from, ...found };
  if (isUncertain && (floor || known.length))
    log.info(
      { stage: 'fanout', partition, floor, from, writtenUpTo },
      'the broker was restarted: writing again what is missing',
    );
  return { from, ...found };
}

/** Returns the first entry of the partition stored at `ms` (since 1970) or later. */
async function firstEntryAfter(nc: NatsConnection, partition: number, ms: number): Promise<number> {
  const manager = await jetstreamManager(nc);
  const query = { start_time: new Date(ms), next_by_subj: subject.log(partition), batch: 1 };
  for await (const message of readDirectBatch(manager, LOG, query)) return message.seq;
  return Number.MAX_SAFE_INTEGER;
}
