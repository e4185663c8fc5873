/** Runs one scenario: load, fault, load again, and then the check of the clients' journal against history. */
import { join } from 'node:path';
import { sleep } from '../../shared/async/sleep.ts';
import { check } from './checker.ts';
import type { FaultSystem } from './fault-system.ts';
import { Fleet } from './fleet.ts';
import type { Violation } from './invariants.ts';
import { type Event, Journal } from './journal.ts';
import { MemoryPeaks, recoveryMs, silenceMs } from './measures.ts';
import type { Outcome, Scenario } from './scenario.ts';

/** A process that takes more memory violates I7, unless the scenario allows more. */
const DEFAULT_MEMORY_MIB = 512;
/** If a scenario expects a loss, messages count as lost after this time: waiting longer would not bring them. */
const EXPECTED_LOSS_QUIET_MS = 3_000;

export async function runScenario(
  system: FaultSystem,
  scenario: Scenario,
  seconds: number,
  log: (line: string) => void,
): Promise<Outcome> {
  const path = join(system.dir, `${scenario.name}.jsonl`);
  const journal = new Journal(path);
  const fleet = new Fleet(journal, system.addresses, scenario.shape);
  const memory = new MemoryPeaks(() => system.pids());
  const violations: Violation[] = [];
  const loadFor = (share: number): Promise<void> => sleep(share * seconds * 1_000);
  try {
    await fleet.connectAll();
    fleet.startLoad();
    await loadFor(0.3);
    await scenario.run(system, { fleet, journal, seconds, loadFor, log });
    await loadFor(0.4);
    await fleet.stopLoad();
    await system.waitUntilQuiet(fleet, scenario.expectedViolation ? EXPECTED_LOSS_QUIET_MS : undefined);
    violations.push(...check(await system.collectEvidence(fleet)));
  } catch (error) {
    violations.push({ invariant: 'failed', text: (error as Error).stack ?? String(error) });
  } finally {
    memory.close();
    await fleet.close().catch(() => {});
    await journal.close();
  }
  violations.push(...findBoundViolations(scenario, journal.events, memory.peaks));
  const { name, expectedViolation } = scenario;
  const passed = expectedViolation
    ? violations.some(({ invariant }) => invariant === expectedViolation)
    : violations.length === 0;
  const repeats = fleet.devices.reduce((sum, { repeatCount }) => sum + repeatCount, 0);
  const figures = { ...summarizeJournal(journal.events), repeats, peaks: memory.peaks };
  return { name, passed, violations, ...figures, journal: passed ? undefined : path };
}

/** I7: memory is bounded, and the system recovers from the fault. */
function findBoundViolations(
  { memoryMiB = DEFAULT_MEMORY_MIB }: Scenario,
  events: readonly Event[],
  peaks: ReadonlyMap<string, number>,
): Violation[] {
  const violations: Violation[] = [];
  for (const [name, peak] of peaks)
    if (peak > memoryMiB) violations.push({ invariant: 'I7', text: `${name} took ${peak} MiB of memory` });
  const hadFault = events.some((event) => event.kind === 'mark' && event.what === 'healed');
  if (hadFault && recoveryMs(events) === undefined)
    violations.push({ invariant: 'I7', text: 'no message was delivered after the fault' });
  return violations;
}

type JournalSummary = Pick<Outcome, 'queued' | 'delivered' | 'resynced' | 'gaps' | 'recovery_ms' | 'silence_ms'>;
function summarizeJournal(events: readonly Event[]): JournalSummary {
  const count = (matches: (event: Event) => boolean): number => events.filter(matches).length;
  return {
    queued: count((event) => event.kind === 'queued'),
    delivered: count((event) => event.kind === 'got'),
    resynced: count((event) => event.kind === 'got' && event.resync),
    gaps: count((event) => event.kind === 'gap'),
    recovery_ms: recoveryMs(events),
    silence_ms: silenceMs(events),
  };
}
