import type { Scenario } from '../stage.ts';
import { CLUSTER } from './cluster.ts';
import { FREEZE } from './freeze.ts';
import { INBOX } from './inbox.ts';
import { INPUT } from './input.ts';
import { KILL } from './kill.ts';
import { POWER } from './power.ts';
import { SOCKETS } from './sockets.ts';
import { START } from './start.ts';
import { STEADY } from './steady.ts';

export const SCENARIOS: readonly Scenario[] = [
  ...STEADY,
  ...KILL,
  ...FREEZE,
  ...SOCKETS,
  ...INPUT,
  ...INBOX,
  ...CLUSTER,
  ...POWER,
  ...START,
];
