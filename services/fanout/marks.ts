/**
 * How far a partition stands in an inbox shard. A mark says so once a second; between two marks the last item of each
 * batch says it in a header, so that whoever goes on after a fault knows exactly which entries a shard has and writes
 * only the others. A shard's stream loses its end at most, so what stands before a mark or such an item is there too.
 */

import { JetStreamApiError } from '@nats-io/jetstream';
import { headers, type MsgHdrs, type NatsConnection } from 'nats';
import { directBatch } from '../../nats/log.ts';
import { manage } from '../../nats/manager.ts';
import { inboxStream, subject } from '../../nats/topology.ts';

export interface Mark {
  entry: number;
  /** The broker process that had it. */
  server: string;
  /** Creation time of the LOG that the entry counts in. */
  log: string;
}
interface Stored extends Mark {
  /** Sequence in the shard. */
  seq: number;
  at: number;
}

const UPTO = 'Sealwire-Upto';
/**
 * After a partition's last mark items of it come for so long at most: marks are a second apart, and a write that is not
 * acknowledged is given up after ten.
 */
const TAIL_MS = 15_000;
const TAIL_BATCH = 1_000;
const TIMEOUT_MS = 5_000;
/** Of a cluster, whoever is asked may not have the newest mark yet. */
const MARK_TRIES = 5;
const NONE = 10037;
const WRONG_LAST_SEQUENCE = 10071;

/** For the last item of a batch: with it the shard has all that the partition has for it, up to and including `entry`. */
export function upTo(partition: number, entry: number): MsgHdrs {
  const about = headers();
  about.set(UPTO, `${partition} ${entry}`);
  return about;
}

/** The newest mark of a partition in a shard. */
export async function readMark(nc: NatsConnection, shard: number, partition: number): Promise<Stored | undefined> {
  const manager = await manage(nc);
  try {
    const stored = await manager.direct.getMessage(inboxStream(shard), {
      last_by_subj: subject.mark(shard, partition),
    });
    return stored ? { ...stored.json<Mark>(), seq: stored.seq, at: stored.time.getTime() } : undefined;
  } catch (error) {
    if (error instanceof JetStreamApiError && error.code === NONE) return undefined;
    throw error;
  }
}

/** Up to which entry the shard has the partition, at least: what the mark says, or an item behind it. */
export async function reachedSince(
  nc: NatsConnection,
  shard: number,
  partition: number,
  mark: Stored,
): Promise<number> {
  const manager = await manage(nc);
  let reached = mark.entry;
  for (let next = mark.seq + 1; ; ) {
    let got = 0;
    for await (const { seq, time, header } of directBatch(manager, inboxStream(shard), {
      seq: next,
      batch: TAIL_BATCH,
    })) {
      if (time.getTime() > mark.at + TAIL_MS) return reached;
      got++;
      next = seq + 1;
      const [of, entry] = header.get(UPTO).split(' ').map(Number);
      if (of === partition && entry! > reached) reached = entry!;
    }
    if (got === 0) return reached;
  }
}

/**
 * Marks a shard, unless a later mark for the same broker stands there: a worker that was frozen and lost its partition
 * must not put back what its successor has marked. `still`: the broker that the mark is about is the one connected.
 */
export async function writeMark(
  nc: NatsConnection,
  shard: number,
  partition: number,
  mark: Mark,
  still: () => boolean,
): Promise<void> {
  const to = subject.mark(shard, partition);
  for (let tries = 0; tries < MARK_TRIES; tries++) {
    const old = await readMark(nc, shard, partition);
    if (old?.server === mark.server && old.log === mark.log && old.entry >= mark.entry) return;
    if (!still()) return;
    const about = headers();
    about.set('Nats-Rollup', 'sub');
    about.set('Nats-Expected-Last-Subject-Sequence', String(old?.seq ?? 0));
    const answer = await nc.request(to, JSON.stringify(mark), { headers: about, timeout: TIMEOUT_MS });
    const { error } = answer.json<{ error?: { err_code: number; description: string } }>();
    if (!error) return;
    if (error.err_code !== WRONG_LAST_SEQUENCE) throw new Error(`mark: ${error.description}`);
  }
  throw new Error('mark: others mark the shard at the same time');
}
