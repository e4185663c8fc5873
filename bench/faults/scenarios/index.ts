/** Lists the scenarios of `npm run faults` in the order in which they run. */
import type { Scenario } from '../scenario.ts';
import { CLUSTER } from './cluster.ts';
import { FREEZE } from './freeze.ts';
import { HOSTILE_INPUT } from './hostile-input.ts';
import { INBOX_LOSS } from './inbox-loss.ts';
import { KILL } from './kill.ts';
import { MISBEHAVING_CLIENTS } from './misbehaving-clients.ts';
import { POWER_CUT } from './power-cut.ts';
import { POWER_CUT_START } from './power-cut-start.ts';
import { STEADY } from './steady.ts';

export const SCENARIOS: readonly Scenario[] = [
  ...STEADY,
  ...KILL,
  ...FREEZE,
  ...MISBEHAVING_CLIENTS,
  ...HOSTILE_INPUT,
  ...INBOX_LOSS,
  ...CLUSTER,
  ...POWER_CUT,
  ...POWER_CUT_START,
];
