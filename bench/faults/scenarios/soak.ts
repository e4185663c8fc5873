/**
 * Minutes at half of what the system carries, with a SIGKILL every so often: the broker, Postgres, each worker, the edge, the
 * api. Where a disk can lose its power, all of it ends with the power cut of the disk that holds everything.
 */
import { setTimeout as pause } from 'node:timers/promises';
import type { Config } from '../../../shared/config/index.ts';
import { Disk, diskMissing } from '../disk.ts';
import { type Act, type Scenario, SERVICES, Stage } from '../stage.ts';

/** The load is at its highest for so long; half of what is queued then is the load of the soak. */
const FULL_LOAD_MS = 10_000;
const KILL_EVERY_MS = 20_000;
const AWAY_MS = 500;
/** More than the clients of one process can send. */
const MOST = 20_000;

/** A system whose whole directory lies on a disk of its own, where there can be one. */
class SoakStage extends Stage {
  disk: Disk | undefined;

  static async on(settings: Partial<Config>, workers: number): Promise<SoakStage> {
    const disk = diskMissing() === undefined ? new Disk() : undefined;
    try {
      const stage = (await SoakStage.open(settings, disk ? { dir: disk.dir } : {}, SERVICES, workers)) as SoakStage;
      stage.disk = disk;
      return stage;
    } catch (error) {
      disk?.remove();
      throw error;
    }
  }

  /** The disk first, so that nothing ends in order; then everything that runs, as on a machine without power. */
  async losePower(): Promise<void> {
    const { broker, postgres } = this.env;
    const all = [...this.processes.values()];
    this.disk!.cutPower();
    await Promise.all([...all, broker, postgres].map((one) => one.kill9()));
    await this.disk!.powerUp();
    await Promise.all([broker.restart(), postgres.restart()]);
    await Promise.all(all.map((one) => one.restart()));
  }

  override async close(keep = false): Promise<void> {
    await super.close(keep);
    this.disk?.remove();
  }
}

/** Messages that were told `queued` in a second at full load. */
async function fullLoad({ fleet, journal }: Act): Promise<number> {
  const queued = (): number => journal.events.reduce((sum, { kind }) => sum + (kind === 'queued' ? 1 : 0), 0);
  fleet.rate = MOST;
  await pause(FULL_LOAD_MS / 4);
  const [before, began] = [queued(), performance.now()];
  await pause(FULL_LOAD_MS);
  return ((queued() - before) * 1_000) / (performance.now() - began);
}

async function run(on: Stage, act: Act): Promise<void> {
  const stage = on as SoakStage;
  const { fleet, journal, seconds, say } = act;
  const most = await fullLoad(act);
  fleet.rate = Math.max(1, Math.round(most / 2));
  say(`${Math.round(most)} messages a second at full load, ${fleet.rate} from here on`);
  const { broker, postgres } = stage.env;
  const victims: [string, { kill9(): Promise<void>; restart(): Promise<void> }][] = [
    ['nats', broker],
    ['postgres', postgres],
    ...stage.processes,
  ];
  let kills = 0;
  for (const end = performance.now() + seconds * 1_000; performance.now() < end; kills++) {
    await pause(KILL_EVERY_MS - AWAY_MS);
    const [name, one] = victims[kills % victims.length]!;
    journal.mark('fault', `SIGKILL ${name}`);
    await one.kill9();
    await pause(AWAY_MS);
    await one.restart();
    journal.mark('healed', name);
  }
  say(`${kills} kills`);
  if (!stage.disk) return say('no power cut: there is no disk here that can lose its power');
  journal.mark('fault', 'power cut');
  await stage.losePower();
  journal.mark('healed', 'power is back');
  await pause(KILL_EVERY_MS / 4);
}

export const SOAK: Scenario = {
  name: 'soak',
  about: `half load with a SIGKILL every ${KILL_EVERY_MS / 1_000} s and a power cut at the end; give it --seconds 600`,
  settings: { DURABILITY: 'durable' },
  open: (settings, workers) => SoakStage.on(settings, workers),
  run,
};
