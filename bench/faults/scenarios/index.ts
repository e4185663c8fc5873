import type { Scenario } from '../stage.ts';
import { KILL } from './kill.ts';

export const SCENARIOS: readonly Scenario[] = [...KILL];
