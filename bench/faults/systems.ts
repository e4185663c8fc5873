/** Opens the systems of a run and closes them: one that scenarios share, and others for scenarios that need their own. */
import type { Config } from '../../shared/config/index.ts';
import type { Bounds } from './bounds.ts';
import { FaultSystem, SERVICES } from './fault-system.ts';
import { runScenario } from './run-scenario.ts';
import type { Outcome, Scenario } from './scenario.ts';
import { SoakSystem } from './scenarios/soak.ts';

interface SystemPoolOptions {
  bounds: Bounds;
  settings: Partial<Config>;
  soak: boolean;
  /** Keeps journals and logs even if all went well. */
  keep: boolean;
  log(line: string): void;
}

export class SystemPool {
  /** Directories of journals and logs that were kept. */
  readonly keptDirs: string[] = [];
  readonly #options: SystemPoolOptions;
  #shared: FaultSystem | undefined;

  constructor(options: SystemPoolOptions) {
    this.#options = options;
  }

  /** Runs a scenario on the shared system, or on its own if it has special settings. */
  async run(scenario: Scenario, seconds: number): Promise<Outcome> {
    const needsOwn = scenario.openSystem !== undefined || scenario.settings !== undefined;
    const system = needsOwn ? await this.#open(scenario) : (this.#shared ?? (await this.#open()));
    if (!needsOwn) this.#shared = system;
    const outcome = await runScenario(system, scenario, seconds, this.#options.log);
    const hasFailed = !outcome.passed;
    if (needsOwn || hasFailed) await this.#closeSystem(system, hasFailed || this.#options.keep);
    // A system that failed may stay broken, so the next scenario starts with a new one.
    if (!needsOwn && hasFailed) this.#shared = undefined;
    return outcome;
  }

  async close(): Promise<void> {
    if (this.#shared) await this.#closeSystem(this.#shared, this.#options.keep);
  }

  #open(scenario?: Scenario): Promise<FaultSystem> {
    const { bounds, soak } = this.#options;
    const settings = { ...bounds.settings, ...this.#options.settings, ...scenario?.settings };
    if (soak) return SoakSystem.openOnDisk(settings, bounds.workers);
    return scenario?.openSystem?.(settings, bounds.workers) ?? FaultSystem.open(settings, {}, SERVICES, bounds.workers);
  }

  async #closeSystem(system: FaultSystem, keep: boolean): Promise<void> {
    if (keep) this.keptDirs.push(system.dir);
    await system.close(keep);
  }
}
