/** Scenario with three brokers that replicate every stream: the leader of the log dies, and no message is lost. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { LOG } from '../../../nats/topology.ts';
import { sleep } from '../../../shared/async/sleep.ts';
import type { Config } from '../../../shared/config/index.ts';
import { Cluster } from '../../../test/env/cluster.ts';
import { FaultSystem, SERVICES } from '../fault-system.ts';
import type { Journal } from '../journal.ts';
import type { Scenario, ScenarioContext } from '../scenario.ts';

/** Log lines that one dead node may cause. A worker that retries in a loop writes tens of thousands. */
const MAX_LOG_LINES = 100;
const WATCH_MS = 20_000;
/**
 * Longest time without any acknowledgement. nats-server elects a leader for each stream and durable 4 to 9 s after it last
 * heard from the old one (constants of its own). The workers find the new leader within BROKER_TIMEOUT_MS and their longest
 * pause, 2 s each.
 */
const MAX_STALL_MS = 14_000;

class ClusterSystem extends FaultSystem {
  #cluster: Cluster | undefined;

  static async openCluster(settings: Partial<Config>, workers: number): Promise<ClusterSystem> {
    const wanted = { ...settings, STREAM_REPLICAS: 3, BROKER_TIMEOUT_MS: 2_000 };
    const cluster = await Cluster.start(wanted);
    try {
      const system = (await ClusterSystem.open(wanted, { cluster }, SERVICES, workers)) as ClusterSystem;
      system.#cluster = cluster;
      return system;
    } catch (error) {
      await cluster.stop();
      throw error;
    }
  }

  get cluster(): Cluster {
    return this.#cluster!;
  }

  override pids(): Map<string, number> {
    const services = [...this.processes].map(([name, { pid }]) => [name, pid] as const);
    const nodes = (this.#cluster?.names ?? []).map((name) => [name, this.cluster.pid(name)] as const);
    return new Map([...services, ...nodes, ['postgres', this.env.postgres.pid]]);
  }

  /** Lines that all services have logged so far: warnings and errors. */
  get logLineCount(): number {
    return readdirSync(this.dir)
      .filter((name) => name.endsWith('.log'))
      .reduce((sum, name) => sum + readFileSync(join(this.dir, name), 'utf8').split('\n').length - 1, 0);
  }

  override async close(keep = false): Promise<void> {
    await super.close(keep);
    await this.#cluster?.stop();
  }
}

/** Returns the longest time without any acknowledgement since `fromMs`, ms. */
function longestStallMs(journal: Journal, fromMs: number): number {
  const times = [fromMs, ...journal.events.flatMap(({ kind, at }) => (kind === 'queued' && at > fromMs ? [at] : []))];
  return Math.max(journal.nowMs - times.at(-1)!, ...times.slice(1).map((at, i) => at - times[i]!));
}

async function run(opened: FaultSystem, { journal, log }: ScenarioContext): Promise<void> {
  const system = opened as ClusterSystem;
  const linesBefore = system.logLineCount;
  const leader = await system.cluster.leaderOf(LOG);
  journal.mark('fault', `SIGKILL ${leader}, which leads ${LOG}`);
  const killed = journal.nowMs;
  await system.cluster.kill9(leader);
  await sleep(WATCH_MS);
  const stallMs = longestStallMs(journal, killed);
  await system.cluster.restart(leader);
  journal.mark('healed', `${leader} is back`);
  const lines = system.logLineCount - linesBefore;
  log(`nothing was queued for ${Math.round(stallMs)} ms; ${lines} log lines`);
  if (stallMs > MAX_STALL_MS) throw new Error(`nothing was queued for ${Math.round(stallMs)} ms after a node died`);
  if (lines > MAX_LOG_LINES) throw new Error(`one dead node caused ${lines} log lines`);
}

export const CLUSTER: Scenario[] = [
  {
    name: 'cluster-leader',
    description: 'three brokers with three replicas of every stream: the node that leads the log dies and comes back',
    openSystem: (settings, workers) => ClusterSystem.openCluster(settings, workers),
    run,
  },
];
