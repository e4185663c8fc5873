/**
 * Translates cursors into stream sequences and back. Cursors outlive the stream that they were given by: `cursor = base +
 * stream sequence`, where each generation of an inbox shard has its own base. When the broker restarts or the stream is made
 * again, sequences may be given a second time; a new generation with a higher base keeps the cursors unique and ascending.
 * The cursor map of a shard lists its generations, oldest first; cursor-map-store.ts persists it.
 */
export interface Generation {
  /** First stream sequence of this generation. */
  from: number;
  base: number;
}
export interface CursorMap {
  /** The broker process that the newest generation was begun for. */
  server: string;
  /** Creation time of the shard's stream, as the broker gives it. */
  created: string;
  generations: Generation[];
  /**
   * The shard has everything that the log held when the newest generation began. Until then a device may lack items that
   * come later, so the edge tells no device that its inbox is empty.
   */
  whole?: true;
}

const START = Date.UTC(2026, 0, 1);
/** Sequences that fit into one second of bases: 2^21 items a second and shard, until the year 2162. */
const PER_SECOND = 2 ** 21;
/** Older generations are dropped; a cursor of one of them then counts as lost. */
const MAX_GENERATIONS = 64;

/** Returns a base higher than any cursor that the shard can have given out. */
function nextBase(map: CursorMap | undefined, lastSeq: number, now = Date.now()): number {
  const newest = map?.generations.at(-1);
  const fresh = Math.floor((now - START) / 1000) * PER_SECOND;
  return newest ? Math.max(fresh, newest.base + lastSeq + PER_SECOND) : fresh;
}

/**
 * Adds a generation that begins after `lastSeq`. Drops generations that began later, since the stream has lost their
 * sequences; a new stream keeps none.
 */
export function beginGeneration(
  old: CursorMap | undefined,
  server: string,
  created: string,
  lastSeq: number,
): CursorMap {
  const base = nextBase(old, lastSeq);
  const kept = old && old.created === created ? old.generations.filter(({ from }) => from <= lastSeq) : [];
  return {
    server,
    created,
    generations: [...kept.slice(1 - MAX_GENERATIONS), { from: lastSeq + 1, base }],
  };
}

/** Names the shard's data for clients: changes when the stream was made again. */
export const epochOf = (map: CursorMap): string => map.generations[0]!.base.toString(36);

/** The base of the newest generation; cursors of items written from now on begin above it. */
export const newestBase = (map: CursorMap): number => map.generations.at(-1)!.base;

/** Returns the cursor of a stream sequence, 0 when the sequence lies before all generations. */
export function cursorOf(map: CursorMap, seq: number): number {
  for (let i = map.generations.length - 1; i >= 0; i--) {
    const generation = map.generations[i]!;
    if (generation.from <= seq) return generation.base + seq;
  }
  return 0;
}

/**
 * Returns the last sequence that a device with `cursor` has. `lost` when the stream no longer holds what the cursor
 * counted, so that the edge must announce a gap.
 */
export function sequenceOf(map: CursorMap, cursor: number): { seq: number; lost: boolean } {
  for (let i = map.generations.length - 1; i >= 0; i--) {
    const { base } = map.generations[i]!;
    if (cursor < base) continue;
    const seq = cursor - base;
    const next = map.generations[i + 1];
    return next && seq >= next.from ? { seq: next.from - 1, lost: true } : { seq, lost: false };
  }
  return { seq: 0, lost: true };
}
