/** Scenario in which the broker's disk loses its power under load. */
import type { Config } from '../../../shared/config/index.ts';
import { Disk, diskUnavailableReason } from '../disk.ts';
import { FaultSystem, type ProcessServices } from '../fault-system.ts';
import type { Scenario, ScenarioContext } from '../scenario.ts';

/** History is a process of its own, because it is suspended. */
const PROCESSES: ProcessServices[] = [['fanout', 'ingest', 'api', 'edge'], 'history'];

/** A system whose broker keeps its streams on a disk of its own. */
class BrokerDiskSystem extends FaultSystem {
  disk: Disk | undefined;

  static async openOnDisk(settings: Partial<Config>, workers: number): Promise<BrokerDiskSystem> {
    const disk = new Disk();
    try {
      const system = (await BrokerDiskSystem.open(
        settings,
        { natsDir: disk.dir },
        PROCESSES,
        workers,
      )) as BrokerDiskSystem;
      system.disk = disk;
      return system;
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

async function run(system: FaultSystem, { journal, loadFor }: ScenarioContext): Promise<void> {
  const { disk } = system as BrokerDiskSystem;
  for (let i = 0; i < 2; i++) {
    // Messages that history has stored are safe in Postgres. It is suspended, so that the newest exist only on the disk.
    journal.mark('fault', 'SIGSTOP history');
    for (const process of system.processesOf('history')) process.signal('SIGSTOP');
    await loadFor(0.15);
    journal.mark('fault', 'power cut');
    disk!.cutPower();
    await system.env.broker.kill9();
    await disk!.powerUp();
    await system.env.broker.restart();
    for (const process of system.processesOf('history')) process.signal('SIGCONT');
    journal.mark('healed', 'power is back');
    await loadFor(0.3);
  }
}

export const POWER_CUT: Scenario[] = [
  {
    name: 'power-cut',
    description: "the broker's disk loses its power under load, twice (durable profile)",
    settings: { DURABILITY: 'durable' },
    skipReason: diskUnavailableReason,
    openSystem: (settings, workers) => BrokerDiskSystem.openOnDisk({ ...settings, DURABILITY: 'durable' }, workers),
    run,
  },
];

/** The same with a broker that does not fsync: it must lose messages, and the checker must find them. */
export const POWER_CUT_FAST: Scenario = {
  name: 'power-cut-fast',
  description: 'the same in the fast profile, which does not promise to survive it',
  skipReason: diskUnavailableReason,
  openSystem: (settings, workers) => BrokerDiskSystem.openOnDisk({ ...settings, DURABILITY: 'fast' }, workers),
  run,
};
