/**
 * Minutes at half of what the system carries, with a SIGKILL every so often: the broker, Postgres, each worker, the edge, the
 * api. It runs in rounds over one system, each with people of its own and checked by itself, so that what the harness has
 * to remember is bounded too. Where a disk can lose its power, the last round ends with the power cut of the disk that
 * holds everything.
 */
import { setTimeout as pause } from 'node:timers/promises';
import type { Config } from '../../../shared/config/index.ts';
import { Disk, diskMissing } from '../disk.ts';
import { type Act, type Scenario, SERVICES, Stage } from '../stage.ts';

const ROUND_S = 60;
/** The load is at its highest for so long; half of what is queued then is the load of the soak. */
const FULL_LOAD_MS = 10_000;
const KILL_EVERY_MS = 20_000;
const AWAY_MS = 500;
/** More than the clients of one process can send. */
const MOST = 20_000;
const DISK_BYTES = 32 * 1024 ** 3;
const SETTINGS: Partial<Config> = {
  DURABILITY: 'durable',
  // All clients are one process, which is busy.
  WS_SLOW_READER_SEC: 30,
};

/** A system whose whole directory lies on a disk of its own, where there can be one. */
export class SoakStage extends Stage {
  disk: Disk | undefined;
  /** Messages sent each second, once the full load was measured. */
  rate = 0;
  kills = 0;

  static async on(settings: Partial<Config>, workers: number): Promise<SoakStage> {
    const disk = diskMissing() === undefined ? new Disk(DISK_BYTES) : undefined;
    try {
      const where = disk ? { dir: disk.dir } : {};
      const stage = (await SoakStage.open({ ...settings, ...SETTINGS }, where, SERVICES, workers)) as SoakStage;
      stage.disk = disk;
      return stage;
    } catch (error) {
      disk?.remove();
      throw error;
    }
  }

  /** Kills what is next in turn, and starts it again. */
  async killNext(): Promise<string> {
    const { broker, postgres } = this.env;
    const victims: [string, { kill9(): Promise<void>; restart(): Promise<void> }][] = [
      ['nats', broker],
      ['postgres', postgres],
      ...this.processes,
    ];
    const [name, one] = victims[this.kills++ % victims.length]!;
    await one.kill9();
    await pause(AWAY_MS);
    await one.restart();
    return name;
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

async function round(on: Stage, act: Act, seconds: number, last: boolean): Promise<void> {
  const stage = on as SoakStage;
  const { fleet, journal, say } = act;
  if (stage.rate === 0) {
    const most = await fullLoad(act);
    stage.rate = Math.max(1, Math.round(most / 2));
    say(`${Math.round(most)} messages a second at full load, ${stage.rate} from here on`);
  }
  fleet.rate = stage.rate;
  for (const end = performance.now() + seconds * 1_000; performance.now() < end; ) {
    await pause(KILL_EVERY_MS - AWAY_MS);
    journal.mark('fault', 'SIGKILL');
    const victim = await stage.killNext();
    journal.mark('healed', victim);
    say(`killed: ${victim}`);
  }
  await pause(KILL_EVERY_MS / 4);
  if (!last) return;
  if (!stage.disk) return say('no power cut: there is no disk here that can lose its power');
  journal.mark('fault', 'power cut');
  await stage.losePower();
  journal.mark('healed', 'power is back');
  say('the power was cut');
  await pause(KILL_EVERY_MS / 4);
}

/** So many seconds of load, in rounds that belong on one SoakStage. */
export function soak(seconds: number): Scenario[] {
  const rounds = Math.ceil(seconds / ROUND_S);
  return Array.from({ length: rounds }, (_, i) => ({
    name: rounds === 1 ? 'soak' : `soak-${i + 1}-of-${rounds}`,
    about: `half load with a SIGKILL every ${KILL_EVERY_MS / 1_000} s${i === rounds - 1 ? ', and a power cut at the end' : ''}`,
    // The broker keeps blocks of its streams in memory until its garbage collector needs to run.
    memoryMiB: 2_048,
    run: (stage, act) => round(stage, act, seconds / rounds, i === rounds - 1),
  }));
}
