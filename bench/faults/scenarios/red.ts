/** The checker is checked: with a broken ingest, or a broker that does not fsync, it has to find what is lost or doubled. */
import type { Config } from '../../../shared/config/index.ts';
import { type Scenario, Stage } from '../stage.ts';
import { KILL } from './kill.ts';
import { POWER_FAST } from './power.ts';
import { SOCKETS } from './sockets.ts';

const named = (all: Scenario[], name: string): Scenario => all.find((one) => one.name === name)!;

/** The system with an ingest into which `broken/<how>.ts` is loaded; the product has no switch for that. */
async function withBroken(how: string, settings: Partial<Config>): Promise<Stage> {
  const stage = await Stage.open(settings, {}, [['history', 'fanout', 'api', 'edge']]);
  const url = new URL(`../broken/${how}.ts`, import.meta.url);
  await stage.add('ingest', 'ingest', { NODE_OPTIONS: `--import=${url}` } as Partial<Config>);
  return stage;
}

export const RED: Scenario[] = [
  {
    ...named(KILL, 'kill-ingest'),
    name: 'red-early',
    about: 'queued is said before the append, and ingest is killed',
    expects: 'I1',
    open: (settings) => withBroken('early-answer', settings),
  },
  {
    ...named(SOCKETS, 'same-id'),
    name: 'red-dedupe',
    about: 'dedupe is off, and the same client_message_id comes from several places',
    expects: 'I2',
    open: (settings) => withBroken('no-dedupe', settings),
  },
  { ...POWER_FAST, name: 'red-fast', about: 'the power is cut in the fast profile', expects: 'I1' },
];
