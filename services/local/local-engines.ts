/** Starts the broker and the database of `npm start`, and completes the configuration with their addresses and secrets. */
import { join } from 'node:path';
import { provisionBroker } from '../../nats/provisioning/broker.ts';
import type { Config } from '../../shared/config/index.ts';
import { BrokerMonitor, measureFreeBytes } from './broker-monitor.ts';
import type { Engine } from './engine.ts';
import { fsyncStreamDirectories, startNats } from './nats.ts';
import { startPostgres } from './postgres.ts';
import type { ProcessTree } from './process-tree.ts';
import type { Secrets } from './secrets.ts';

interface EnginesOptions {
  tree: ProcessTree;
  /** The configuration as the operator gave it. */
  asked: Config;
  secrets: Secrets;
  onProgress(line: string): void;
}

export interface Engines {
  /** With the URLs and the secrets of the engines. */
  config: Config;
  /** Restarts a broker that refuses its clients; undefined where NATS_URL names another broker. */
  monitor: BrokerMonitor | undefined;
}

/** Starts the engines that NATS_URL and DATABASE_URL do not replace. @throws when one of them does not start. */
export async function startEngines({ tree, asked, secrets, onProgress }: EnginesOptions): Promise<Engines> {
  const dir = join(asked.DATA_DIR, 'postgres');
  let config: Config = {
    ...asked,
    PERSONAL_KEYS: keysOf(asked, 'PERSONAL_KEYS', secrets.personal),
    PERSONAL_INDEX_KEYS: keysOf(asked, 'PERSONAL_INDEX_KEYS', secrets.personal_index),
  };
  if (!asked.DATABASE_URL) {
    onProgress(`database: starting Postgres in ${dir}`);
    const { current } = await tree.start<Engine>('postgres', (previous) =>
      startPostgres({ config: asked, dir, secrets, port: previous?.port ?? 0 }),
    );
    config = { ...config, DATABASE_URL: current.url };
  }
  if (asked.NATS_URL) return { config, monitor: undefined };
  return await startBroker({ tree, asked, secrets, onProgress }, config);
}

async function startBroker(
  { tree, asked, secrets, onProgress }: EnginesOptions,
  withDatabase: Config,
): Promise<Engines> {
  const dir = join(asked.DATA_DIR, 'nats');
  const withBroker = ({ url }: Engine): Config => ({ ...withDatabase, NATS_URL: url, NATS_SECRET: secrets.nats });
  onProgress(`broker: starting nats-server in ${dir}, profile ${asked.DURABILITY}`);
  const supervisor = await tree.start<Engine>('nats', async (previous) => {
    const engine = await startNats({ config: asked, dir, secrets, port: previous?.port ?? 0 });
    // Streams in memory are gone with the broker, their definitions included.
    if (previous) await provisionDurably(withBroker(engine), asked);
    return engine;
  });
  const monitor = new BrokerMonitor({
    restartAfterMs: asked.BROKER_REFUSES_MS,
    minIntervalMs: asked.BROKER_RESTART_APART_MS,
    freeBytes: () => measureFreeBytes(dir),
    restart: () => supervisor.restart(),
    onProgress,
  });
  // A restart of the broker that is under way does not hold up the end: its supervisor is closed with the processes.
  tree.closeFirst(async () => void monitor.close());
  return { config: withBroker(supervisor.current), monitor };
}

/**
 * Makes streams and consumers. In the durable profile they are on disk when this resolves.
 * @returns what was changed.
 */
export async function provisionDurably(config: Config, asked: Config): Promise<string[]> {
  const changes = await provisionBroker(config);
  if (!asked.NATS_URL && asked.DURABILITY === 'durable') fsyncStreamDirectories(join(asked.DATA_DIR, 'nats'));
  return changes;
}

/** @throws in production without keys: data that they encrypt must outlive the directory that holds generated ones. */
function keysOf(asked: Config, name: 'PERSONAL_KEYS' | 'PERSONAL_INDEX_KEYS', generated: string): string[] {
  if (asked[name].length) return asked[name];
  if (asked.NODE_ENV === 'production') throw new Error(`NODE_ENV=production refuses a generated ${name}: set ${name}`);
  return [generated];
}
