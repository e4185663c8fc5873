/** Runs `npm run faults`: breaks parts of the system under load and checks from the clients' journals that nothing was lost. */
import { BOUNDS } from './bounds.ts';
import { type FaultOptions, HELP, readOptions } from './options.ts';
import { formatSummary, formatTable, formatViolations } from './report.ts';
import type { Outcome, Scenario } from './scenario.ts';
import { EXPECTED_VIOLATIONS } from './scenarios/expected-violations.ts';
import { SCENARIOS } from './scenarios/index.ts';
import { createSoakRounds } from './scenarios/soak.ts';
import { SystemPool } from './systems.ts';

/** Load before the first kill of a round of the soak (part of it), seconds. */
const SOAK_LEAD_SEC = 2;

const print = (line: string): void => void process.stdout.write(`${line}\n`);

function chooseScenarios({ only, prove, soak, seconds }: FaultOptions): Scenario[] {
  const all = soak ? createSoakRounds(seconds) : prove ? EXPECTED_VIOLATIONS : SCENARIOS;
  const chosen = all.filter(({ name }) => !only || only.some((prefix) => name.startsWith(prefix)));
  if (chosen.length === 0) throw new Error(`no scenario has a name that begins with ${only}; --list prints the names`);
  return chosen;
}

function listScenarios(): void {
  for (const { name, description } of [...SCENARIOS, ...createSoakRounds(1), ...EXPECTED_VIOLATIONS])
    print(`${name.padEnd(18)} ${description}`);
}

async function runAll(options: FaultOptions): Promise<Outcome[]> {
  const { rate, durability, soak, seconds, keep } = options;
  const scenarios = chooseScenarios(options);
  const outcomes: Outcome[] = [];
  const keptDirs: string[] = [];
  for (const name of options.bounds) {
    const bounds = BOUNDS[name];
    print(`bounds: ${name}, ${bounds.description}`);
    const settings = { DURABILITY: durability };
    const pool = new SystemPool({ bounds, settings, soak, keep, log: (line) => print(`  ${line}`) });
    for (const scenario of scenarios) {
      const reason = scenario.skipReason?.();
      if (reason) {
        print(`${scenario.name}: skipped, ${reason}`);
        continue;
      }
      print(`${scenario.name}: ${scenario.description}`);
      const withRate = { ...scenario, shape: { ...scenario.shape, rate } };
      const outcome = await pool.run(withRate, soak ? SOAK_LEAD_SEC : seconds);
      outcomes.push({ ...outcome, name: name === 'real' ? outcome.name : `${outcome.name} (${name})` });
      print(`  ${formatSummary(outcome)}`);
      for (const line of formatViolations(outcome)) print(`  ${line}`);
    }
    await pool.close();
    keptDirs.push(...pool.keptDirs);
  }
  print('');
  for (const line of formatTable(outcomes)) print(line);
  for (const dir of keptDirs) print(`journals and logs: ${dir}`);
  return outcomes;
}

/** @returns the exit code: 1 if an invariant was violated, or an expected violation was not found */
async function main(): Promise<number> {
  const options = readOptions();
  if (options.mode === 'run') return (await runAll(options)).every(({ passed }) => passed) ? 0 : 1;
  if (options.mode === 'help') print(HELP);
  else listScenarios();
  return 0;
}

try {
  process.exitCode = await main();
} catch (error) {
  process.stderr.write(`${(error as Error).message}\n`);
  process.exitCode = 2;
}
