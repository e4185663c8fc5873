/** A scenario of `npm run faults`, short, as a test. */
import type { ExecutionContext } from 'ava';
import { FaultSystem } from '../../bench/faults/fault-system.ts';
import { runScenario } from '../../bench/faults/run-scenario.ts';
import type { Outcome, Scenario, ScenarioContext } from '../../bench/faults/scenario.ts';
import { EXPECTED_VIOLATIONS } from '../../bench/faults/scenarios/expected-violations.ts';
import { SCENARIOS } from '../../bench/faults/scenarios/index.ts';
import type { Config } from '../../shared/config/index.ts';
import { until } from '../env/until.ts';

export const SECONDS = 2;
/** Few people who say little, since other tests want the machine as well. */
const SHAPE = { pairs: 4, groups: 2, groupSize: 4, second: 2, restless: 2, rate: 100 };

export function scenario(name: string): Scenario {
  const found = [...SCENARIOS, ...EXPECTED_VIOLATIONS].find((one) => one.name === name);
  if (!found) throw new Error(`no scenario is called ${name}`);
  return { ...found, shape: { ...SHAPE, ...found.shape } };
}

const perform = (t: ExecutionContext, stage: FaultSystem, one: Scenario): Promise<Outcome> =>
  runScenario(stage, one, SECONDS, (line) => t.log(line));

/** Nothing is violated, and something was said. */
export async function expectSound(t: ExecutionContext, stage: FaultSystem, name: string): Promise<void> {
  const one = scenario(name);
  const run = async (on: FaultSystem, act: ScenarioContext): Promise<void> => {
    await one.run(on, act);
    // The load goes on until enough was said, however slow the machine is.
    await until(() => act.journal.events.filter(({ kind }) => kind === 'queued').length > 50);
  };
  const { violations, queued, delivered } = await perform(t, stage, { ...one, run });
  t.deepEqual(
    violations.slice(0, 10).map(({ invariant, text }) => `${invariant}: ${text}`),
    [],
  );
  t.true(queued > 50 && delivered > queued / 2, `${queued} queued, ${delivered} delivered`);
}

/** In a system of its own; it says so where it can't run. */
export async function runAlone(
  t: ExecutionContext,
  name: string,
  look: (stage: FaultSystem) => Promise<void>,
): Promise<void> {
  const { skipReason, openSystem, settings } = scenario(name);
  const reason = skipReason?.();
  if (reason) {
    t.log(`left out: ${reason}`);
    t.pass();
    return;
  }
  const wanted: Partial<Config> = { ...settings };
  const stage = await (openSystem ? openSystem(wanted, 1) : FaultSystem.open(wanted));
  try {
    await look(stage);
  } finally {
    await stage.close();
  }
}

/** The checker finds the violation that it has to. */
export const expectViolation = (t: ExecutionContext, name: string): Promise<void> =>
  runAlone(t, name, async (stage) => {
    const { passed, violations } = await perform(t, stage, scenario(name));
    t.true(
      passed,
      [...new Set(violations.map(({ invariant, text }) => `${invariant}: ${text}`))].slice(0, 5).join('\n'),
    );
  });
