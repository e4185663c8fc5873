/**
 * How far a partition stands in the inbox shards. Once a second a mark says up to which entry all shards have it, and the
 * cursor of each shard at which that is so. Between two marks the last item of each batch says it in a header, so that
 * whoever goes on after a fault knows exactly which entries a shard has and writes only the others.
 *
 * A shard's stream loses its end at most, so what stands before a mark or such an item is there too. Whether the shard still
 * holds what a mark counted, its lineage tells, as it does for the cursor of a device. Marks have a stream of their own:
 * replaced in the shards' streams, they would leave a hole in every block, and a broker that was killed reads every block
 * with a hole into its memory when it starts.
 */
import { JetStreamApiError, type StoredMsg } from '@nats-io/jetstream';
import { headers, type MsgHdrs, type NatsConnection } from 'nats';
import { type CursorMap, sequenceOf } from '../../nats/inbox/cursor-map.ts';
import { jetstreamManager, timeoutsOf } from '../../nats/jetstream-manager.ts';
import { readDirectBatch } from '../../nats/log-reader.ts';
import { inboxStream, MARKS, subject } from '../../nats/topology.ts';

export interface Checkpoint {
  entry: number;
  /** By shard: what it has of the partition up to the entry stands at or before this cursor. */
  cursors: readonly number[];
  /** The broker process that had it. */
  server: string;
  /** Creation time of the LOG that the entry counts in. */
  log: string;
}
interface Stored extends Checkpoint {
  /** Sequence in MARKS. */
  seq: number;
  at: number;
}
/** Up to which entry a shard has a partition, and where: -1 and 0 when nobody knows. */
export interface ShardProgress {
  entry: number;
  seq: number;
}

const UPTO = 'Sealwire-Upto';
/** After a partition's last mark items of it come for BROKER_TIMEOUT_MS and so long at most: marks are a second apart. */
const TAIL_MS = 5_000;
const TAIL_BATCH = 1_000;
/** Of a cluster, whoever is asked may not have the newest mark yet. */
const MARK_TRIES = 5;
const NONE = 10037;
const WRONG_LAST_SEQUENCE = 10071;

/** For the last item of a batch: with it the shard has all that the partition has for it, up to and including `entry`. */
export function progressHeader(partition: number, entry: number): MsgHdrs {
  const about = headers();
  about.set(UPTO, `${partition} ${entry}`);
  return about;
}

/** The marks of a partition that are kept, the newest first: a shard that lost its end still holds what an older one counted. */
export async function readCheckpoints(nc: NatsConnection, partition: number): Promise<Stored[]> {
  const found: Stored[] = [];
  const manager = await jetstreamManager(nc);
  for (let next = 1, got = 1; got > 0; ) {
    got = 0;
    const query = { seq: next, next_by_subj: subject.mark(partition), batch: TAIL_BATCH };
    for await (const stored of readDirectBatch(manager, MARKS, query)) {
      found.unshift(toMark(stored));
      next = stored.seq + 1;
      got++;
    }
  }
  return found;
}

/** The newest mark of a partition. */
export async function readCheckpoint(nc: NatsConnection, partition: number): Promise<Stored | undefined> {
  const manager = await jetstreamManager(nc);
  try {
    const stored = await manager.direct.getMessage(MARKS, { last_by_subj: subject.mark(partition) });
    return stored ? toMark(stored) : undefined;
  } catch (error) {
    if (error instanceof JetStreamApiError && error.code === NONE) return undefined;
    throw error;
  }
}

const toMark = (stored: StoredMsg): Stored => ({
  ...stored.json<Checkpoint>(),
  seq: stored.seq,
  at: stored.time.getTime(),
});

/** Whether every shard still holds what the mark counted. */
export const isCheckpointValid = ({ cursors }: Checkpoint, lineages: readonly CursorMap[]): boolean =>
  lineages.every((lineage, shard) => !sequenceOf(lineage, cursors[shard] ?? -1).lost);

/** Up to which entry the shard has the partition, at least: what the newest mark that still counts says, or an item behind it. */
export async function readShardProgress(
  nc: NatsConnection,
  shard: number,
  partition: number,
  lineage: CursorMap,
  marks: readonly Stored[],
): Promise<ShardProgress> {
  for (const { entry, cursors, at } of marks) {
    const { seq, lost } = sequenceOf(lineage, cursors[shard] ?? -1);
    if (!lost) return await reachedSince(nc, shard, partition, { entry, seq }, at);
  }
  return { entry: -1, seq: 0 };
}

async function reachedSince(
  nc: NatsConnection,
  shard: number,
  partition: number,
  mark: ShardProgress,
  at: number,
): Promise<ShardProgress> {
  const manager = await jetstreamManager(nc);
  const end = at + timeoutsOf(nc).publishMs + TAIL_MS;
  let reached = mark;
  for (let next = mark.seq + 1, got = 1; got > 0; ) {
    got = 0;
    for await (const { seq, time, header } of readDirectBatch(manager, inboxStream(shard), {
      seq: next,
      batch: TAIL_BATCH,
    })) {
      if (time.getTime() > end) return reached;
      got++;
      next = seq + 1;
      const [of, entry] = header.get(UPTO).split(' ').map(Number);
      if (of === partition && entry! > reached.entry) reached = { entry: entry!, seq };
    }
  }
  return reached;
}

/**
 * Marks a partition, unless a later mark for the same broker and the same streams stands there: a worker that was frozen
 * and lost its partition must not put back what its successor has marked. `still`: the broker that the mark is about is
 * the one connected.
 */
export async function writeCheckpoint(
  nc: NatsConnection,
  partition: number,
  mark: Checkpoint,
  lineages: readonly CursorMap[],
  still: () => boolean,
): Promise<void> {
  for (let tries = 0; tries < MARK_TRIES; tries++) {
    const old = await readCheckpoint(nc, partition);
    const same = old?.server === mark.server && old.log === mark.log && isCheckpointValid(old, lineages);
    if (same && old.entry >= mark.entry) return;
    if (!still()) return;
    const about = headers();
    about.set('Nats-Expected-Last-Subject-Sequence', String(old?.seq ?? 0));
    const options = { headers: about, timeout: timeoutsOf(nc).requestMs };
    const answer = await nc.request(subject.mark(partition), JSON.stringify(mark), options);
    const { error } = answer.json<{ error?: { err_code: number; description: string } }>();
    if (!error) return;
    if (error.err_code !== WRONG_LAST_SEQUENCE) throw new Error(`mark: ${error.description}`);
  }
  throw new Error('mark: others mark the partition at the same time');
}
