/** The broker's disk loses its power under load. */
import type { Config } from '../../../shared/config/index.ts';
import { Disk, diskMissing } from '../disk.ts';
import { type Act, type Group, type Scenario, Stage } from '../stage.ts';

/** What is broken here is the broker; history is held back. */
const GROUPS: Group[] = [['fanout', 'ingest', 'api', 'edge'], 'history'];

/** A stage whose broker keeps its streams on a disk of its own. */
export class PoweredStage extends Stage {
  disk: Disk | undefined;

  static async on(settings: Partial<Config>, workers: number): Promise<PoweredStage> {
    const disk = new Disk();
    try {
      const stage = (await PoweredStage.open(settings, { natsDir: disk.dir }, GROUPS, workers)) as PoweredStage;
      stage.disk = disk;
      return stage;
    } catch (error) {
      disk.remove();
      throw error;
    }
  }

  override async close(keep = false): Promise<void> {
    await super.close(keep);
    this.disk?.remove();
  }
}

async function run(stage: Stage, { journal, go }: Act): Promise<void> {
  const { disk } = stage as PoweredStage;
  for (let i = 0; i < 2; i++) {
    // What history has is safe in Postgres: so that something depends on the disk, it lags behind.
    journal.mark('fault', 'SIGSTOP history');
    for (const one of stage.all('history')) one.signal('SIGSTOP');
    await go(0.15);
    journal.mark('fault', 'power cut');
    disk!.cutPower();
    await stage.env.broker.kill9();
    await disk!.powerUp();
    await stage.env.broker.restart();
    for (const one of stage.all('history')) one.signal('SIGCONT');
    journal.mark('healed', 'power is back');
    await go(0.3);
  }
}

export const POWER: Scenario[] = [
  {
    name: 'power-cut',
    about: "the broker's disk loses its power under load, twice (durable profile)",
    settings: { DURABILITY: 'durable' },
    leftOut: diskMissing,
    open: (settings, workers) => PoweredStage.on({ ...settings, DURABILITY: 'durable' }, workers),
    run,
  },
];

/** The same where the broker does not fsync: it has to lose something, or the checker sees nothing. */
export const POWER_FAST: Scenario = {
  name: 'power-cut-fast',
  about: 'the same in the fast profile, which promises no such thing',
  leftOut: diskMissing,
  open: (settings, workers) => PoweredStage.on({ ...settings, DURABILITY: 'fast' }, workers),
  run,
};
