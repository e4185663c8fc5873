/**
 * Records how far each partition is written into the inbox shards. Once a second a checkpoint says up to which entry all
 * shards have it, and at which cursor of each shard. Between two checkpoints the last item of each batch says it in a header,
 * so that the process that continues after a fault knows exactly which entries a shard has and writes only the others.
 *
 * A shard's stream can lose its end only, so it has everything before such an item. Whether it still holds what a checkpoint
 * counted is seen by its cursor map, as for the cursor of a device. Checkpoints have a stream of their own (MARKS): replaced
 * in the shards' streams they would leave a hole in every block, and a broker that was killed reads every block with a hole
 * into its memory when it starts.
 */
import type { StoredMsg } from '@nats-io/jetstream';
import { headers, type MsgHdrs, type NatsConnection } from 'nats';
import { isNoMessage, isWrongLastSequence } from '../../nats/errors.ts';
import { type CursorMap, sequenceOf } from '../../nats/inbox/cursor-map.ts';
import { jetstreamManager, timeoutsOf } from '../../nats/jetstream-manager.ts';
import { requestJetStream } from '../../nats/js-api.ts';
import { readDirectBatch } from '../../nats/log-reader.ts';
import { inboxStream, MARKS, subject } from '../../nats/topology.ts';

export interface Checkpoint {
  entry: number;
  /** By shard: it has the partition up to `entry` at or before this cursor. */
  cursors: readonly number[];
  /** The broker process that had it. */
  server: string;
  /** Creation time of the LOG that `entry` counts in. */
  log: string;
}
interface StoredCheckpoint extends Checkpoint {
  /** Sequence in MARKS. */
  seq: number;
  at: number;
}
/** The last entry of a partition that a shard has, and its sequence there; -1 and 0 where that is unknown. */
export interface ShardProgress {
  entry: number;
  seq: number;
}

const UPTO = 'Sealwire-Upto';
/** After the last checkpoint of a partition, items of it come for BROKER_TIMEOUT_MS and this time at most. */
const TAIL_MS = 5_000;
const TAIL_BATCH = 1_000;
/** In a cluster the answering replica may not have the newest checkpoint yet. */
const WRITE_TRIES = 5;

/** The header of a batch's last item: with it the shard has the partition up to and including `entry`. */
export function progressHeader(partition: number, entry: number): MsgHdrs {
  const out = headers();
  out.set(UPTO, `${partition} ${entry}`);
  return out;
}

/** Reads the kept checkpoints of a partition, newest first: a shard that lost its end still holds what an older one counted. */
export async function readCheckpoints(nc: NatsConnection, partition: number): Promise<StoredCheckpoint[]> {
  const found: StoredCheckpoint[] = [];
  const manager = await jetstreamManager(nc);
  for (let next = 1, got = 1; got > 0; ) {
    got = 0;
    const query = { seq: next, next_by_subj: subject.mark(partition), batch: TAIL_BATCH };
    for await (const stored of readDirectBatch(manager, MARKS, query)) {
      found.unshift(decodeCheckpoint(stored));
      next = stored.seq + 1;
      got++;
    }
  }
  return found;
}

/** Reads the newest checkpoint of a partition. */
export async function readCheckpoint(nc: NatsConnection, partition: number): Promise<StoredCheckpoint | undefined> {
  const manager = await jetstreamManager(nc);
  try {
    const stored = await manager.direct.getMessage(MARKS, { last_by_subj: subject.mark(partition) });
    return stored ? decodeCheckpoint(stored) : undefined;
  } catch (error) {
    if (isNoMessage(error)) return undefined;
    throw error;
  }
}

const decodeCheckpoint = (stored: StoredMsg): StoredCheckpoint => ({
  ...stored.json<Checkpoint>(),
  seq: stored.seq,
  at: stored.time.getTime(),
});

/** Returns true while every shard still holds what the checkpoint counted. */
export const isCheckpointValid = ({ cursors }: Checkpoint, maps: readonly CursorMap[]): boolean =>
  maps.every((map, shard) => !sequenceOf(map, cursors[shard] ?? -1).lost);

/**
 * Finds up to which entry, at least, a shard has the partition: by the newest valid checkpoint, or an item behind it.
 * `checkpoints`: newest first.
 */
export async function readShardProgress(
  nc: NatsConnection,
  shard: number,
  partition: number,
  map: CursorMap,
  checkpoints: readonly StoredCheckpoint[],
): Promise<ShardProgress> {
  for (const { entry, cursors, at } of checkpoints) {
    const { seq, lost } = sequenceOf(map, cursors[shard] ?? -1);
    if (!lost) return await readProgressAfter(nc, shard, partition, { entry, seq }, at);
  }
  return { entry: -1, seq: 0 };
}

/** Reads the headers of the items behind a checkpoint that was written at `at`, ms since 1970. */
async function readProgressAfter(
  nc: NatsConnection,
  shard: number,
  partition: number,
  checkpoint: ShardProgress,
  at: number,
): Promise<ShardProgress> {
  const manager = await jetstreamManager(nc);
  const end = at + timeoutsOf(nc).publishMs + TAIL_MS;
  let progress = checkpoint;
  for (let next = checkpoint.seq + 1, got = 1; got > 0; ) {
    got = 0;
    for await (const { seq, time, header } of readDirectBatch(manager, inboxStream(shard), {
      seq: next,
      batch: TAIL_BATCH,
    })) {
      if (time.getTime() > end) return progress;
      got++;
      next = seq + 1;
      const [of, entry] = header.get(UPTO).split(' ').map(Number);
      if (of === partition && entry! > progress.entry) progress = { entry: entry!, seq };
    }
  }
  return progress;
}

/**
 * Writes a checkpoint, unless a later one for the same broker and the same streams is stored: a worker that was frozen and
 * lost its partition must not undo what its successor has recorded.
 * @param isCurrent the broker that the checkpoint is about is the one that is connected
 */
export async function writeCheckpoint(
  nc: NatsConnection,
  partition: number,
  checkpoint: Checkpoint,
  maps: readonly CursorMap[],
  isCurrent: () => boolean,
): Promise<void> {
  for (let tries = 0; tries < WRITE_TRIES; tries++) {
    const old = await readCheckpoint(nc, partition);
    const isSame = old?.server === checkpoint.server && old.log === checkpoint.log && isCheckpointValid(old, maps);
    if (isSame && old.entry >= checkpoint.entry) return;
    if (!isCurrent()) return;
    const expected = headers();
    expected.set('Nats-Expected-Last-Subject-Sequence', String(old?.seq ?? 0));
    try {
      await requestJetStream(nc, subject.mark(partition), checkpoint, { headers: expected });
      return;
    } catch (error) {
      if (!isWrongLastSequence(error)) throw error;
    }
  }
  throw new Error('checkpoint: other processes write checkpoints of the partition at the same time');
}
