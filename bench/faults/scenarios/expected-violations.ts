/**
 * Scenarios that prove the checker: with a broken ingest, or a broker that does not fsync, it must find the messages that
 * are lost or duplicated.
 */
import type { Config } from '../../../shared/config/index.ts';
import { FaultSystem } from '../fault-system.ts';
import type { Scenario } from '../scenario.ts';
import { KILL } from './kill.ts';
import { MISBEHAVING_CLIENTS } from './misbehaving-clients.ts';
import { POWER_CUT_FAST } from './power-cut.ts';

const findScenario = (scenarios: Scenario[], wanted: string): Scenario =>
  scenarios.find(({ name }) => name === wanted)!;

/** Opens a system whose ingest loads `broken/<module>.ts`; the product itself has no such switch. */
async function openBrokenSystem(module: string, settings: Partial<Config>): Promise<FaultSystem> {
  const system = await FaultSystem.open(settings, {}, [['history', 'fanout', 'api', 'edge']]);
  const url = new URL(`../broken/${module}.ts`, import.meta.url);
  await system.startProcess('ingest', 'ingest', { NODE_OPTIONS: `--import=${url}` } as Partial<Config>);
  return system;
}

export const EXPECTED_VIOLATIONS: Scenario[] = [
  {
    ...findScenario(KILL, 'kill-ingest'),
    name: 'red-early',
    description: 'messages are acknowledged before the append, and ingest is killed',
    expectedViolation: 'I1',
    openSystem: (settings) => openBrokenSystem('early-answer', settings),
  },
  {
    ...findScenario(MISBEHAVING_CLIENTS, 'same-id'),
    name: 'red-dedupe',
    description: 'deduplication is switched off, and the same client_message_id comes from several places',
    expectedViolation: 'I2',
    openSystem: (settings) => openBrokenSystem('no-dedupe', settings),
  },
  { ...POWER_CUT_FAST, name: 'red-fast', description: 'the power is cut in the fast profile', expectedViolation: 'I1' },
];
