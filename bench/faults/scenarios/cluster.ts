/** Three brokers that keep every stream three times: the leader of the log dies, and nobody loses a word. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { LOG } from '../../../nats/topology.ts';
import type { Config } from '../../../shared/config/index.ts';
import { Cluster } from '../../../test/env/cluster.ts';
import type { Journal } from '../journal.ts';
import { type Act, type Scenario, SERVICES, Stage } from '../stage.ts';

/** A worker that storms writes tens of thousands of lines. */
const MOST_LINES = 100;
const WATCHED_MS = 20_000;
/**
 * nats-server elects a leader 4 to 9 s after it heard the old one last (constants of its own), for each stream and durable;
 * the workers find it within BROKER_TIMEOUT_MS and their longest pause, 2 s each.
 */
const MOST_STALL_MS = 14_000;

class ClusterStage extends Stage {
  #cluster: Cluster | undefined;

  static async on(settings: Partial<Config>, workers: number): Promise<ClusterStage> {
    const wanted = { ...settings, STREAM_REPLICAS: 3, BROKER_TIMEOUT_MS: 2_000 };
    const cluster = await Cluster.start(wanted);
    try {
      const stage = (await ClusterStage.open(wanted, { cluster }, SERVICES, workers)) as ClusterStage;
      stage.#cluster = cluster;
      return stage;
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

  /** Lines that all services have logged, warnings and worse. */
  get lines(): number {
    return readdirSync(this.dir)
      .filter((name) => name.endsWith('.log'))
      .reduce((sum, name) => sum + readFileSync(join(this.dir, name), 'utf8').split('\n').length - 1, 0);
  }

  override async close(keep = false): Promise<void> {
    await super.close(keep);
    await this.#cluster?.stop();
  }
}

/** The longest time without any `queued` since `from`, ms. */
function stall(journal: Journal, from: number): number {
  const times = [from, ...journal.events.flatMap(({ kind, at }) => (kind === 'queued' && at > from ? [at] : []))];
  return Math.max(journal.now - times.at(-1)!, ...times.slice(1).map((at, i) => at - times[i]!));
}

async function run(on: Stage, { journal, say }: Act): Promise<void> {
  const stage = on as ClusterStage;
  const before = stage.lines;
  const leader = await stage.cluster.leaderOf(LOG);
  journal.mark('fault', `SIGKILL ${leader}, which leads ${LOG}`);
  const killed = journal.now;
  await stage.cluster.kill9(leader);
  await pause(WATCHED_MS);
  const stood = stall(journal, killed);
  await stage.cluster.restart(leader);
  journal.mark('healed', `${leader} is back`);
  const lines = stage.lines - before;
  say(`nothing was queued for ${Math.round(stood)} ms; ${lines} log lines`);
  if (stood > MOST_STALL_MS) throw new Error(`nothing was queued for ${Math.round(stood)} ms after a node died`);
  if (lines > MOST_LINES) throw new Error(`${lines} log lines for one dead node`);
}

export const CLUSTER: Scenario[] = [
  {
    name: 'cluster-leader',
    about: 'three brokers, every stream three times: the node that leads the log dies and comes back',
    open: (settings, workers) => ClusterStage.on(settings, workers),
    run,
  },
];
