/**
 * Scenario that runs for minutes at half of the full load, with a SIGKILL at regular intervals: of the broker, Postgres, each
 * worker, the edge and the api in turn. It consists of rounds on one system. Each round has its own people and is checked by
 * itself, so that the memory of the harness is bounded, too. Where a disk can lose its power, the last round ends with the
 * power cut of the disk that holds everything.
 */
import { sleep } from '../../../shared/async/sleep.ts';
import type { Config } from '../../../shared/config/index.ts';
import { Disk, diskUnavailableReason } from '../disk.ts';
import { FaultSystem, SERVICES } from '../fault-system.ts';
import type { Scenario, ScenarioContext } from '../scenario.ts';

const ROUND_SEC = 60;
/** The full load is measured for this long. Half of it is the load of the soak. */
const FULL_LOAD_MS = 10_000;
const KILL_EVERY_MS = 20_000;
/** Time from a kill to the restart. */
const DOWN_MS = 500;
/** A rate that is higher than the clients of one process can send. */
const UNREACHABLE_RATE = 20_000;
const DISK_BYTES = 32 * 1024 ** 3;
const SETTINGS: Partial<Config> = {
  DURABILITY: 'durable',
  // All clients run in one process, which is busy and reads late.
  WS_SLOW_READER_SEC: 30,
};

/** A system whose whole directory is on a disk of its own, where the machine can provide one. */
export class SoakSystem extends FaultSystem {
  disk: Disk | undefined;
  /** Messages sent each second; 0 until the full load was measured. */
  rate = 0;
  killCount = 0;

  static async openOnDisk(settings: Partial<Config>, workers: number): Promise<SoakSystem> {
    const disk = diskUnavailableReason() === undefined ? new Disk(DISK_BYTES) : undefined;
    try {
      const places = disk ? { dir: disk.dir } : {};
      const system = (await SoakSystem.open({ ...settings, ...SETTINGS }, places, SERVICES, workers)) as SoakSystem;
      system.disk = disk;
      return system;
    } catch (error) {
      disk?.remove();
      throw error;
    }
  }

  /** Kills the next process in turn and starts it again. @returns its name */
  async killNext(): Promise<string> {
    const { broker, postgres } = this.env;
    const victims: [string, { kill9(): Promise<void>; restart(): Promise<void> }][] = [
      ['nats', broker],
      ['postgres', postgres],
      ...this.processes,
    ];
    const [name, process] = victims[this.killCount++ % victims.length]!;
    await process.kill9();
    await sleep(DOWN_MS);
    await process.restart();
    return name;
  }

  /** Cuts the disk first, so that no process can shut down in order, kills every process, and starts everything again. */
  async cutPower(): Promise<void> {
    const { broker, postgres } = this.env;
    const all = [...this.processes.values()];
    this.disk!.cutPower();
    await Promise.all([...all, broker, postgres].map((target) => target.kill9()));
    await this.disk!.powerUp();
    await Promise.all([broker.restart(), postgres.restart()]);
    await Promise.all(all.map((target) => target.restart()));
  }

  override async close(keep = false): Promise<void> {
    await super.close(keep);
    this.disk?.remove();
  }
}

/** Returns the messages that are acknowledged each second at full load. */
async function measureFullLoad({ fleet, journal }: ScenarioContext): Promise<number> {
  const countQueued = (): number => journal.events.reduce((sum, { kind }) => sum + (kind === 'queued' ? 1 : 0), 0);
  fleet.rate = UNREACHABLE_RATE;
  await sleep(FULL_LOAD_MS / 4);
  const [before, startedAt] = [countQueued(), performance.now()];
  await sleep(FULL_LOAD_MS);
  return ((countQueued() - before) * 1_000) / (performance.now() - startedAt);
}

async function runRound(
  opened: FaultSystem,
  context: ScenarioContext,
  seconds: number,
  isLast: boolean,
): Promise<void> {
  const system = opened as SoakSystem;
  const { fleet, journal, log } = context;
  if (system.rate === 0) {
    const fullRate = await measureFullLoad(context);
    system.rate = Math.max(1, Math.round(fullRate / 2));
    log(`${Math.round(fullRate)} messages a second at full load; the soak runs at ${system.rate}`);
  }
  fleet.rate = system.rate;
  for (const deadline = performance.now() + seconds * 1_000; performance.now() < deadline; ) {
    await sleep(KILL_EVERY_MS - DOWN_MS);
    journal.mark('fault', 'SIGKILL');
    const victim = await system.killNext();
    journal.mark('healed', victim);
    log(`killed: ${victim}`);
  }
  await sleep(KILL_EVERY_MS / 4);
  if (!isLast) return;
  if (!system.disk) return log('no power cut: this machine can provide no disk that loses its power');
  journal.mark('fault', 'power cut');
  await system.cutPower();
  journal.mark('healed', 'power is back');
  log('the power was cut');
  await sleep(KILL_EVERY_MS / 4);
}

/** Returns rounds that have `seconds` of load together. All of them run on one SoakSystem. */
export function createSoakRounds(seconds: number): Scenario[] {
  const rounds = Math.ceil(seconds / ROUND_SEC);
  return Array.from({ length: rounds }, (_, i) => ({
    name: rounds === 1 ? 'soak' : `soak-${i + 1}-of-${rounds}`,
    description: `half load with a SIGKILL every ${KILL_EVERY_MS / 1_000} s${i === rounds - 1 ? ', and a power cut at the end' : ''}`,
    // The broker keeps blocks of its streams in memory until its garbage collector runs.
    memoryMiB: 2_048,
    run: (system, context) => runRound(system, context, seconds / rounds, i === rounds - 1),
  }));
}
