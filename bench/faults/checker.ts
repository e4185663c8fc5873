/** Checks the evidence of a run against every invariant. It does not know which fault there was: the invariants always hold. */
import { type Evidence, EvidenceIndex } from './evidence.ts';
import { INVARIANTS, type Violation } from './invariants.ts';

/** @returns every violation; none if the run was sound */
export function check(evidence: Evidence): Violation[] {
  const index = new EvidenceIndex(evidence);
  return INVARIANTS.flatMap((findViolations) => [...findViolations(index)]);
}

/** Counts the deliveries and history rows that are still to come; 0 once everything has arrived. */
export function countOutstanding(evidence: Evidence): number {
  const index = new EvidenceIndex(evidence);
  let count = 0;
  for (const _ of index.undelivered()) count++;
  for (const key of index.queued.keys()) if (!index.rows.has(key)) count++;
  return count;
}
