/** Where a device is in its inbox stream, and what it must be told that it lost. */
import { uuid7Time } from '../../shared/ids.ts';
import { type Lineage, placeOf } from '../../shared/pipeline/lineage.ts';
import type { Edge } from './edge.ts';
import { cursorAt } from './shards.ts';

export interface Bearings {
  cursor: number;
  /** Stream sequence up to which the device needs nothing any more. */
  seq: number;
  /** Items up to this cursor will not come any more. */
  gap?: { to: number; reason: 'reset' | 'retention' };
}

/** A device that never had a cursor begins where it was made. */
export async function firstBearings(edge: Edge, shard: number, lineage: Lineage, device_id: string): Promise<Bearings> {
  const seq = await edge.replay.before(shard, uuid7Time(device_id));
  return { cursor: cursorAt(lineage, seq), seq };
}

/** `since`: when the cursor was moved last (ms since 1970), to see whether items got too old meanwhile. */
export async function bearings(
  edge: Edge,
  shard: number,
  lineage: Lineage,
  cursor: number,
  since: number | undefined,
): Promise<Bearings> {
  const { seq, lost } = placeOf(lineage, cursor);
  if (lost) {
    const to = cursorAt(lineage, Math.max(seq + 1, lineage.lives[0]!.from)) - 1;
    return { cursor, seq, gap: { to, reason: 'reset' } };
  }
  if (since === undefined) return { cursor, seq };
  // Fresh: what grew too old a moment ago must not go without a word.
  const { first_seq, first_at } = await edge.shards.facts(shard, true);
  if (first_seq <= seq + 1 || since >= first_at) return { cursor, seq };
  return { cursor, seq: first_seq - 1, gap: { to: cursorAt(lineage, first_seq) - 1, reason: 'retention' } };
}
