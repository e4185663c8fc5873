/** Remembers which messages of each conversation were handled on this device, as the highest seq and the holes below it. */
interface HandledRanges {
  last: number;
  /** Ranges of missing seqs, both ends included, ascending. The first may be from before this device existed. */
  holes: [from: number, to: number][];
  /** This device never expected the messages up to this seq. */
  base: number;
}

/** The form in which a Store keeps it: conversation, base, last, holes. */
export type HandledMessagesData = [id: string, base: number, last: number, holes: [number, number][]][];

export class HandledMessages {
  #conversations = new Map<string, HandledRanges>();

  isNew(conversation_id: string, seq: number): boolean {
    const ranges = this.#conversations.get(conversation_id);
    return ranges === undefined || seq > ranges.last || ranges.holes.some(([from, to]) => seq >= from && seq <= to);
  }

  /** @param isOwn this device sent the message: then the messages before it may still be missing */
  add(conversation_id: string, seq: number, isOwn = false): void {
    const ranges = this.#conversations.get(conversation_id);
    if (ranges === undefined) {
      const base = isOwn ? 0 : seq - 1;
      this.#conversations.set(conversation_id, { last: seq, base, holes: seq > 1 ? [[1, seq - 1]] : [] });
    } else if (seq === ranges.last + 1) {
      ranges.last = seq;
    } else if (seq > ranges.last) {
      ranges.holes.push([ranges.last + 1, seq - 1]);
      ranges.last = seq;
    } else {
      removeFromHoles(ranges.holes, seq);
    }
  }

  /** Returns the seq up to which nothing is missing, from which a resync continues; 0 for an unknown conversation. */
  contiguousSeq(conversation_id: string): number {
    const ranges = this.#conversations.get(conversation_id);
    if (ranges === undefined) return 0;
    const hole = ranges.holes.find(([, to]) => to > ranges.base);
    return hole ? Math.max(hole[0] - 1, ranges.base) : ranges.last;
  }

  /** Counts everything up to `seq` as handled, because messages that history does not hold will never come. */
  markCompleteUpTo(conversation_id: string, seq: number): void {
    const ranges = this.#conversations.get(conversation_id);
    if (ranges === undefined) this.#conversations.set(conversation_id, { last: seq, base: 0, holes: [] });
    else {
      ranges.last = Math.max(ranges.last, seq);
      ranges.holes = ranges.holes.filter(([from]) => from > seq);
    }
  }

  restore(data: HandledMessagesData): void {
    for (const [id, base, last, holes] of data) this.#conversations.set(id, { base, last, holes });
  }

  serialize(): HandledMessagesData {
    return [...this.#conversations].map(([id, { base, last, holes }]) => [id, base, last, holes]);
  }
}

function removeFromHoles(holes: [number, number][], seq: number): void {
  const index = holes.findIndex(([from, to]) => seq >= from && seq <= to);
  if (index < 0) return;
  const [from, to] = holes[index]!;
  const remaining: [number, number][] = [];
  if (from < seq) remaining.push([from, seq - 1]);
  if (seq < to) remaining.push([seq + 1, to]);
  holes.splice(index, 1, ...remaining);
}
