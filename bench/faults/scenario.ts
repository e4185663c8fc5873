/** Defines the types of a scenario, its context and its outcome. */
import type { Config } from '../../shared/config/index.ts';
import type { FaultSystem } from './fault-system.ts';
import type { Fleet, FleetShape } from './fleet.ts';
import type { Violation } from './invariants.ts';
import type { Journal } from './journal.ts';

export interface Scenario {
  name: string;
  description: string;
  shape?: Partial<FleetShape>;
  settings?: Partial<Config>;
  /** A process that takes more memory violates I7. The default is DEFAULT_MEMORY_MIB. */
  memoryMiB?: number;
  /** The invariant that must be found violated. Such a scenario shows that the checker detects violations. */
  expectedViolation?: string;
  /** Returns why the scenario can't run on this machine; undefined if it can. */
  skipReason?(): string | undefined;
  /** Opens a system for this scenario alone, because it needs a special one or leaves it unusable. */
  openSystem?(settings: Partial<Config>, workers: number): Promise<FaultSystem>;
  /** Causes the fault, under load. What it throws is a failure of its own. */
  run(system: FaultSystem, context: ScenarioContext): Promise<void>;
}

export interface ScenarioContext {
  fleet: Fleet;
  journal: Journal;
  /** The load lasts at least this long, beside the time that the fault takes. */
  seconds: number;
  /** Lets the load go on for this share of `seconds`. */
  loadFor(share: number): Promise<void>;
  log(line: string): void;
}

export interface Outcome {
  name: string;
  /** True if there is no violation, or if the expected one was found. */
  passed: boolean;
  violations: Violation[];
  /** Messages that were acknowledged as queued. */
  queued: number;
  /** Messages that were delivered to applications. */
  delivered: number;
  /** Messages that were fetched from history after a gap. */
  resynced: number;
  gaps: number;
  /** Messages that devices received under more than one cursor. */
  repeats: number;
  recovery_ms: number | undefined;
  silence_ms: number;
  /** Highest memory by process, MiB. */
  peaks: ReadonlyMap<string, number>;
  /** Path of the journal, if the scenario failed. */
  journal: string | undefined;
}
