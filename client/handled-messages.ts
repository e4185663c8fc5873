/** Which messages of each conversation were handled here, in little room: the highest seq and the holes below it. */
interface Known {
  last: number;
  /** Ranges, both ends included, in ascending order; the first may be what was before this device's time. */
  holes: [from: number, to: number][];
  /** Everything up to here was never expected by this device. */
  base: number;
}

/** As a Store keeps it: conversation, base, last, holes. */
export type HandledMessagesData = [id: string, base: number, last: number, holes: [number, number][]][];

export class HandledMessages {
  #known = new Map<string, Known>();

  isNew(conversation_id: string, seq: number): boolean {
    const known = this.#known.get(conversation_id);
    return known === undefined || seq > known.last || known.holes.some(([from, to]) => seq >= from && seq <= to);
  }

  /** `own`: this device sent it, which says nothing about what came before it. */
  add(conversation_id: string, seq: number, own = false): void {
    const known = this.#known.get(conversation_id);
    if (known === undefined) {
      const base = own ? 0 : seq - 1;
      this.#known.set(conversation_id, { last: seq, base, holes: seq > 1 ? [[1, seq - 1]] : [] });
    } else if (seq === known.last + 1) {
      known.last = seq;
    } else if (seq > known.last) {
      known.holes.push([known.last + 1, seq - 1]);
      known.last = seq;
    } else {
      fill(known.holes, seq);
    }
  }

  /** From where a resync has to ask; 0 for a conversation never heard of. */
  contiguousSeq(conversation_id: string): number {
    const known = this.#known.get(conversation_id);
    if (known === undefined) return 0;
    const hole = known.holes.find(([, to]) => to > known.base);
    return hole ? Math.max(hole[0] - 1, known.base) : known.last;
  }

  /** What history does not hold (or not for this device) is not waited for. */
  markCompleteUpTo(conversation_id: string, last: number): void {
    const known = this.#known.get(conversation_id);
    if (known === undefined) this.#known.set(conversation_id, { last, base: 0, holes: [] });
    else {
      known.last = Math.max(known.last, last);
      known.holes = known.holes.filter(([from]) => from > last);
    }
  }

  restore(data: HandledMessagesData): void {
    for (const [id, base, last, holes] of data) this.#known.set(id, { base, last, holes });
  }

  serialize(): HandledMessagesData {
    return [...this.#known].map(([id, { base, last, holes }]) => [id, base, last, holes]);
  }
}

function fill(holes: [number, number][], seq: number): void {
  const at = holes.findIndex(([from, to]) => seq >= from && seq <= to);
  if (at < 0) return;
  const [from, to] = holes[at]!;
  const rest: [number, number][] = [];
  if (from < seq) rest.push([from, seq - 1]);
  if (seq < to) rest.push([seq + 1, to]);
  holes.splice(at, 1, ...rest);
}
