/**
 * Cursors outlive the stream that they were given by. `cursor = base + stream sequence`, where a base names one life of
 * an inbox shard: when the broker restarts or the stream is made anew, sequences may be given a second time, so a new
 * life with a higher base begins. The lives of a shard stand in the KV bucket `lineage`, oldest first.
 */
export interface Generation {
  /** First stream sequence of this life. */
  from: number;
  base: number;
}
export interface CursorMap {
  /** The broker process that the newest life was begun for. */
  server: string;
  /** Creation time of the stream that it belongs to, as the broker tells it. */
  created: string;
  lives: Generation[];
  /**
   * Everything that the log held when the newest life began stands in the shard. Until then a device may lack items that
   * come later, so nobody is told that its inbox is empty.
   */
  whole?: true;
}

const START = Date.UTC(2026, 0, 1);
/** Sequences that fit into one second of bases: 2^21 items a second and shard, until the year 2162. */
const PER_SECOND = 2 ** 21;

/** A base higher than any cursor that `lineage` can have given out. */
export function nextBase(lineage: CursorMap | undefined, lastSeq: number, now = Date.now()): number {
  const newest = lineage?.lives.at(-1);
  const fresh = Math.floor((now - START) / 1000) * PER_SECOND;
  return newest ? Math.max(fresh, newest.base + lastSeq + PER_SECOND) : fresh;
}

/** Adds a life that begins after `lastSeq`; lives that began later than that are forgotten. A new stream keeps none. */
export function beginGeneration(
  old: CursorMap | undefined,
  server: string,
  created: string,
  lastSeq: number,
): CursorMap {
  const base = nextBase(old, lastSeq);
  const kept = old && old.created === created ? old.lives.filter((life) => life.from <= lastSeq) : [];
  return { server, created, lives: [...kept.slice(-63), { from: lastSeq + 1, base }] };
}

/** Name of the shard's data as a client sees it: changes when the stream was made anew. */
export const epochOf = (lineage: CursorMap): string => lineage.lives[0]!.base.toString(36);

export function cursorOf(lineage: CursorMap, seq: number): number {
  for (let i = lineage.lives.length - 1; i >= 0; i--) {
    const life = lineage.lives[i]!;
    if (life.from <= seq) return life.base + seq;
  }
  return 0;
}

/**
 * Where a device with `cursor` goes on: the last sequence that it has. `lost` when what the cursor counted is no
 * longer what the stream holds, so the device must be told.
 */
export function sequenceOf(lineage: CursorMap, cursor: number): { seq: number; lost: boolean } {
  for (let i = lineage.lives.length - 1; i >= 0; i--) {
    const { base } = lineage.lives[i]!;
    if (cursor < base) continue;
    const seq = cursor - base;
    const next = lineage.lives[i + 1];
    return next && seq >= next.from ? { seq: next.from - 1, lost: true } : { seq, lost: false };
  }
  return { seq: 0, lost: true };
}
