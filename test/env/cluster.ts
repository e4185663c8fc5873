/** A cluster of nats-servers on loopback, each with the configuration that `npm run nats-conf` writes for it. */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { jetstreamManager } from '@nats-io/jetstream';
import { connect } from 'nats';
import { natsConfFromEnv } from '../../nats/conf.ts';
import { connectNats, natsPassword } from '../../nats/connect.ts';
import { type Child, lastLines, startChild } from '../../services/local/child.ts';
import { findNatsBinary } from '../../services/local/nats-binary.ts';
import { waitFor } from '../../shared/async/wait-for.ts';
import type { Config } from '../../shared/config/index.ts';
import { freePort } from '../../shared/ports.ts';
import { toEnv } from './index.ts';

const SECRET = 'the secret of a cluster of tests';
const START_MS = 90_000;

interface Node {
  readonly name: string;
  readonly port: number;
  readonly conf: string;
  readonly log: string;
  child: Child | undefined;
}
/** What a server says of the group that decides where streams lie; only its leader knows the replicas. */
interface Meta {
  leader?: string;
  cluster_size: number;
  replicas?: { name: string; current: boolean; offline?: boolean }[];
}

export class Cluster {
  readonly dir: string;
  readonly secret = SECRET;
  readonly #nodes: Node[];

  private constructor(dir: string, nodes: Node[]) {
    this.dir = dir;
    this.#nodes = nodes;
  }

  /** Starts `size` nodes and resolves once all of them are current; `config` says durability, partitions and shards. */
  static async start(config: Partial<Config> = {}, size = 3): Promise<Cluster> {
    const dir = mkdtempSync(join(tmpdir(), 'sealwire-cluster-'));
    const ports: number[] = [];
    while (ports.length < 2 * size) {
      const port = await freePort();
      if (!ports.includes(port)) ports.push(port);
    }
    const routes = ports.slice(size).map((port) => `127.0.0.1:${port}`);
    const nodes = Array.from({ length: size }, (_, i): Node => {
      const name = `node-${i + 1}`;
      mkdirSync(join(dir, name));
      const conf = join(dir, name, 'nats.conf');
      const text = natsConfFromEnv({
        ...toEnv({ DURABILITY: 'fast', ...config, NATS_SECRET: SECRET }),
        NATS_SERVER_NAME: name,
        NATS_LISTEN: `127.0.0.1:${ports[i]}`,
        NATS_STORE_DIR: join(dir, name),
        NATS_CLUSTER_NAME: 'sealwire',
        NATS_CLUSTER_LISTEN: routes[i],
        NATS_CLUSTER_ROUTES: routes.join(','),
      });
      writeFileSync(conf, text, { mode: 0o600 });
      return { name, port: ports[i]!, conf, log: join(dir, name, 'nats.log'), child: undefined };
    });
    const cluster = new Cluster(dir, nodes);
    try {
      for (const { name } of nodes) cluster.#run(name);
      await cluster.waitUntilWhole();
    } catch (error) {
      await cluster.stop();
      throw error;
    }
    return cluster;
  }

  /** For NATS_URL: the addresses of all nodes. */
  get url(): string {
    return this.#nodes.map(({ port }) => `nats://127.0.0.1:${port}`).join(',');
  }
  get names(): string[] {
    return this.#nodes.map(({ name }) => name);
  }
  pid(name: string): number {
    return this.#node(name).child?.pid ?? 0;
  }

  /** Resolves once every node takes part and has caught up. */
  async waitUntilWhole(): Promise<void> {
    const size = this.#nodes.length;
    try {
      await waitFor(async () => {
        const metas = await this.#metas();
        const replicas = metas.find((meta) => meta.replicas)?.replicas ?? [];
        const current = replicas.filter((one) => one.current && !one.offline).length;
        return metas.length === size && current === size - 1 ? true : undefined;
      }, START_MS);
    } catch (error) {
      const logs = this.#nodes.map(({ name, log }) => `${name}:\n${lastLines(log)}`);
      throw new Error(`no cluster of ${size}: ${(error as Error).message}\n${logs.join('\n')}`);
    }
  }

  /** The node that leads a stream. */
  async leaderOf(stream: string): Promise<string> {
    const nc = await connectNats({ NATS_URL: this.url, NATS_SECRET: SECRET }, 'admin');
    try {
      const jsm = await jetstreamManager(nc);
      return await waitFor(async () => (await jsm.streams.info(stream)).cluster?.leader, START_MS);
    } finally {
      await nc.close();
    }
  }

  /** SIGKILL; resolves when it is gone. It stays down until `restart`. */
  async kill9(name: string): Promise<void> {
    const { child } = this.#node(name);
    child?.signal('SIGKILL');
    await child?.exited;
  }

  /** Starts a node again that is down; resolves once all nodes are current. */
  async restart(name: string): Promise<void> {
    await this.#node(name).child?.close('SIGINT', 15_000);
    this.#run(name);
    await this.waitUntilWhole();
  }

  async stop(): Promise<void> {
    await Promise.all(this.#nodes.map(({ child }) => child?.close('SIGKILL', 0)));
    rmSync(this.dir, { recursive: true, force: true, maxRetries: 5 });
  }

  #run(name: string): void {
    const node = this.#node(name);
    node.child = startChild(findNatsBinary(undefined), ['-c', node.conf], { orphan: 'KILL', log: node.log });
  }

  #node(name: string): Node {
    const node = this.#nodes.find((one) => one.name === name);
    if (!node) throw new Error(`there is no node ${name}`);
    return node;
  }

  /** What each node that answers says. */
  async #metas(): Promise<Meta[]> {
    const nc = await connect({
      servers: this.url.split(','),
      user: 'sys',
      pass: natsPassword(SECRET, 'sys'),
      timeout: 1_000,
    });
    try {
      const metas: Meta[] = [];
      const options = { strategy: 'timer', maxWait: 400 } as const;
      for await (const reply of await nc.requestMany('$SYS.REQ.SERVER.PING.JSZ', '{"config":true}', options)) {
        const { data } = reply.json<{ data?: { meta_cluster?: Meta } }>();
        if (data?.meta_cluster) metas.push(data.meta_cluster);
      }
      return metas;
    } finally {
      await nc.close();
    }
  }
}
