/** Where a device is in its inbox stream, and what it must be told that it lost. */

import { type CursorMap, sequenceOf } from '../../../nats/inbox/cursor-map.ts';
import { uuid7Time } from '../../../shared/ids.ts';
import type { Edge } from '../edge.ts';
import { cursorAt, type StreamFacts } from '../offline/inbox-shards.ts';

export interface ResumePoint {
  cursor: number;
  /** Stream sequence up to which the device needs nothing any more. */
  seq: number;
  /** Items up to this cursor will not come any more. */
  gap?: { to: number; reason: 'reset' | 'retention' };
}

/**
 * Whether the stream may have dropped an item for a device that has everything up to `seq`, and everything that was stored
 * up to `since` (ms since 1970). What was dropped can't be read any more, so nobody can say whose it was: where the two
 * bounds do not exclude a loss, it is announced.
 */
const mayHaveLost = ({ first_seq, dropped_until }: StreamFacts, seq: number, since: number): boolean =>
  first_seq > seq + 1 && since < dropped_until;

const lostForAge = (lineage: CursorMap, { first_seq }: StreamFacts, cursor: number): ResumePoint => ({
  cursor,
  seq: first_seq - 1,
  gap: { to: cursorAt(lineage, first_seq) - 1, reason: 'retention' },
});

/** A device that never had a cursor begins where it was made. */
export async function findFirstResumePoint(
  edge: Edge,
  shard: number,
  lineage: CursorMap,
  device_id: string,
): Promise<ResumePoint> {
  const made = uuid7Time(device_id);
  const seq = await edge.replay.before(shard, made);
  const facts = await edge.shards.facts(shard, true);
  // From the beginning: which sequences were given when the device was made is not known any more.
  if (mayHaveLost(facts, 0, made)) return lostForAge(lineage, facts, cursorAt(lineage, 0));
  return { cursor: cursorAt(lineage, seq), seq };
}

/** `since`: until when the device had everything (ms since 1970), to see whether items got too old afterwards. */
export async function findResumePoint(
  edge: Edge,
  shard: number,
  lineage: CursorMap,
  cursor: number,
  since: number,
): Promise<ResumePoint> {
  const { seq, lost } = sequenceOf(lineage, cursor);
  // Fresh: what grew too old a moment ago must not go without a word.
  const facts = await edge.shards.facts(shard, true);
  if (lost) {
    const next = Math.max(seq + 1, lineage.generations[0]!.from, facts.first_seq);
    return {
      cursor,
      seq: Math.max(seq, facts.first_seq - 1),
      gap: { to: cursorAt(lineage, next) - 1, reason: 'reset' },
    };
  }
  return mayHaveLost(facts, seq, since) ? lostForAge(lineage, facts, cursor) : { cursor, seq };
}
