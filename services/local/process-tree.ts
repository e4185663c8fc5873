/** The embedded default: broker, database and all services as one process tree that starts and ends together. */
import { join } from 'node:path';
import { provisionBroker } from '../../nats/provisioning/broker.ts';
import { type Config, readConfig } from '../../shared/config/index.ts';
import { migrate } from '../../shared/db/migrate.ts';
import type { ServiceName } from '../../shared/service.ts';
import { BrokerMonitor, freeBytesOf } from './broker-monitor.ts';
import { lockDataDir, secretsOf } from './data-dir.ts';
import type { Engine } from './engine.ts';
import { startNats, syncStreams } from './nats.ts';
import { startPostgres } from './postgres.ts';
import { type ServiceProcess, startServices } from './service-process.ts';
import { keep, type Supervisor } from './supervisor.ts';

/** Which services share a process. Nothing delays the edge's sockets, and no webhook the messages. */
export const GROUPS: ServiceName[][] = [
  ['edge'],
  ['api', 'ingest', 'fanout', 'history'],
  ['events', 'webhook', 'payments-webhook', 'push'],
];

export interface TreeOptions {
  /** Variables as in the environment, over those of this process. */
  env?: Record<string, string | undefined>;
  /** Progress, one line per step. */
  say?(line: string): void;
  /** Where the services' own logs go; a path, or this process's output. */
  log?: string | 'inherit';
}

export interface Tree {
  /** `api`, `edge` (with path), `nats`, `postgres` (without password). */
  addresses: Record<string, string>;
  /** Where each process of services tells the operator how it is. */
  ops: { name: string; url: string }[];
  /** The configuration that the services got: with URLs and secret of the engines. */
  config: Config;
  /** Process ids by name: `nats`, `postgres`, and one per group, e.g. `edge`. */
  pids(): Record<string, number>;
  /** Services first, then the broker, then the database. */
  stop(): Promise<void>;
  /** Resolves when the tree can't go on, with the reason; it has been stopped then. */
  failed: Promise<string>;
}

/** Starts everything and resolves once all is ready. What NATS_URL and DATABASE_URL name is used instead of embedded. */
export async function startAll({ env = {}, say = () => {}, log = 'inherit' }: TreeOptions = {}): Promise<Tree> {
  const given = { ...process.env, ...env };
  const asked = readConfig(given);
  const dir = asked.DATA_DIR;
  const unlock = lockDataDir(dir);
  const stack: { name: string; stop(): Promise<void> }[] = [];
  const engines: Supervisor<Engine>[] = [];
  const processes: [string, Supervisor<ServiceProcess>][] = [];
  let fail: (reason: string) => void = () => {};
  const failing = new Promise<string>((resolve) => {
    fail = resolve;
  });
  let care: BrokerMonitor | undefined;
  let ending: Promise<void> | undefined;
  const stop = (): Promise<void> => {
    ending ??= (async () => {
      care?.stop();
      for (const { stop: end } of stack.reverse()) await end().catch((error: Error) => say(error.message));
      unlock();
    })();
    return ending;
  };
  const failed = failing.then(async (reason) => {
    await stop();
    return reason;
  });
  const kept = async <T extends Engine | ServiceProcess>(
    name: string,
    start: (previous: T | undefined) => Promise<T>,
  ): Promise<Supervisor<T>> => {
    const keeper = await keep<T>({ name, start, say, gaveUp: fail });
    // It came up after all was told to stop.
    if (ending) await keeper.stop();
    stack.push({ name, stop: () => keeper.stop() });
    return keeper;
  };
  /** Streams and consumers, in the durable profile on disk when it resolves. */
  const provide = async (config: Config): Promise<string[]> => {
    const changes = await provisionBroker(config);
    if (!asked.NATS_URL && asked.DURABILITY === 'durable') syncStreams(join(dir, 'nats'));
    return changes;
  };
  const once = <T>(work: Promise<T>): Promise<T> =>
    Promise.race([work, failing.then((reason) => Promise.reject(new Error(reason)))]);

  try {
    const secrets = secretsOf(dir, asked.DURABILITY);
    let config: Config = {
      ...asked,
      PERSONAL_KEYS: keysOr(asked, 'PERSONAL_KEYS', secrets.personal),
      PERSONAL_INDEX_KEYS: keysOr(asked, 'PERSONAL_INDEX_KEYS', secrets.personal_index),
    };
    if (!asked.DATABASE_URL) {
      say(`database: starting Postgres in ${join(dir, 'postgres')}`);
      const keeper = await kept<Engine>('postgres', (previous) =>
        startPostgres({ config: asked, dir: join(dir, 'postgres'), secrets, port: previous?.port ?? 0 }),
      );
      engines.push(keeper);
      config = { ...config, DATABASE_URL: keeper.now.url };
    }
    if (!asked.NATS_URL) {
      say(`broker: starting nats-server in ${join(dir, 'nats')}, profile ${asked.DURABILITY}`);
      const keeper = await kept<Engine>('nats', async (previous) => {
        const port = previous?.port ?? 0;
        const engine = await startNats({ config: asked, dir: join(dir, 'nats'), secrets, port });
        // What is in memory only is gone with the broker, definition included.
        if (previous) await provide(config);
        return engine;
      });
      engines.push(keeper);
      care = new BrokerMonitor({
        afterMs: asked.BROKER_REFUSES_MS,
        apartMs: asked.BROKER_RESTART_APART_MS,
        freeBytes: () => freeBytesOf(join(dir, 'nats')),
        restart: () => keeper.restart(),
        say,
      });
      config = { ...config, NATS_URL: keeper.now.url, NATS_SECRET: secrets.nats };
    }
    const changes = await once(provide(config));
    say(
      `broker: ${changes.length ? `${changes.length} changes to streams and consumers` : 'streams and consumers are as they should be'}`,
    );
    const applied = await once(migrate(config));
    say(`database: ${applied.length ? `applied ${applied.join(', ')}` : 'the schema is up to date'}`);

    const childEnv: NodeJS.ProcessEnv = { ...given, ...engineEnv(config), DATA_DIR: dir };
    const { PERSONAL_KEYS: _, PERSONAL_INDEX_KEYS: __, ...impersonal } = childEnv;
    const groups = GROUPS.map(async (services, i) => {
      const name = services.join('+');
      say(`services: starting ${services.join(', ')}`);
      const keeper = await kept<ServiceProcess>(name, (previous) =>
        startServices({
          services,
          env: { ...(services.includes('api') ? childEnv : impersonal), OPS_PORT: String(opsPort(asked, i)) },
          previous,
          log,
          refused: (since) => care?.report(name, since),
        }),
      );
      processes.push([name, keeper]);
    });
    const results = await once(Promise.allSettled(groups));
    for (const result of results) if (result.status === 'rejected') throw result.reason;

    const addresses: Record<string, string> = {};
    const ops: Tree['ops'] = [];
    for (const [name, keeper] of processes) {
      const { ops: url, ...others } = keeper.now.addresses;
      Object.assign(addresses, others);
      ops.push({ name, url: url! });
    }
    addresses.nats = config.NATS_URL!;
    addresses.postgres = config.DATABASE_URL!.replace(/:[^:@/]*@/, '@');
    const pids = (): Record<string, number> =>
      Object.fromEntries([
        ...engines.map((one) => [one.now.name, one.now.pid] as const),
        ...processes.map(([name, one]) => [name, one.now.pid] as const),
      ]);
    return { addresses, ops, config, pids, stop, failed };
  } catch (error) {
    await stop();
    throw error;
  }
}

function engineEnv(config: Config): Record<string, string> {
  const { NATS_URL, NATS_SECRET, DATABASE_URL, PERSONAL_KEYS, PERSONAL_INDEX_KEYS } = config;
  return {
    NATS_URL: NATS_URL!,
    DATABASE_URL: DATABASE_URL!,
    PERSONAL_KEYS: PERSONAL_KEYS.join(','),
    PERSONAL_INDEX_KEYS: PERSONAL_INDEX_KEYS.join(','),
    ...(NATS_SECRET ? { NATS_SECRET } : {}),
  };
}

/** Every process has a port of its own for the operator. */
const opsPort = ({ OPS_PORT }: Config, i: number): number => OPS_PORT && OPS_PORT + i;

/** What is encrypted must outlive a directory: production brings its own keys. */
function keysOr(asked: Config, name: 'PERSONAL_KEYS' | 'PERSONAL_INDEX_KEYS', generated: string): string[] {
  if (asked[name].length) return asked[name];
  if (asked.NODE_ENV === 'production') throw new Error(`NODE_ENV=production refuses a generated ${name}`);
  return [generated];
}
