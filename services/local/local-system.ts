/** The system of `npm start`: broker, database and all services as one process tree that starts and ends together. */
import { type Config, readConfig } from '../../shared/config/index.ts';
import { migrate } from '../../shared/db/migrate.ts';
import { SERVICE_GROUPS } from '../../shared/service-names.ts';
import type { BrokerMonitor } from './broker-monitor.ts';
import { lockDataDir } from './data-dir-lock.ts';
import { provisionDurably, startEngines } from './local-engines.ts';
import { ProcessTree } from './process-tree.ts';
import { openSecrets } from './secrets.ts';
import { type ServiceProcess, startServiceProcess } from './service-process.ts';
import type { Supervisor } from './supervisor.ts';

interface LocalSystemOptions {
  /** Variables of the environment that replace those of this process. */
  env?: Record<string, string | undefined>;
  /** Receives one line per step. */
  onProgress?(line: string): void;
  /** The file for the services' own logs; `inherit` for this process's output. */
  log?: string | 'inherit';
}

export interface LocalSystem {
  /** `api`, `edge` (with path), `nats`, `postgres` (without password). */
  addresses: Record<string, string>;
  /** The operator's address of each process of services. */
  ops: { name: string; url: string }[];
  /** The configuration of the services, with the URLs and the secret of the engines. */
  config: Config;
  /** Process ids by name: `nats`, `postgres`, and one per group of services, e.g. `edge`. */
  pids(): Record<string, number>;
  /** Closes the services first, then the broker, then the database. */
  close(): Promise<void>;
  /** Resolves with the reason when the system cannot go on; it has been closed then. */
  failed: Promise<string>;
}

/** Starts everything and resolves once all is ready. Engines that NATS_URL and DATABASE_URL name are used, not started. */
export async function startLocalSystem({
  env = {},
  onProgress = () => {},
  log = 'inherit',
}: LocalSystemOptions = {}): Promise<LocalSystem> {
  const given = { ...process.env, ...env };
  const asked = readConfig(given);
  const unlock = lockDataDir(asked.DATA_DIR);
  const tree = new ProcessTree({ onProgress, onClosed: unlock });
  try {
    const secrets = openSecrets(asked.DATA_DIR, asked.DURABILITY);
    const { config, monitor } = await startEngines({ tree, asked, secrets, onProgress });
    const changes = await tree.unlessFailed(provisionDurably(config, asked));
    onProgress(
      `broker: ${changes.length ? `${changes.length} changes to streams and consumers` : 'streams and consumers are up to date'}`,
    );
    const applied = await tree.unlessFailed(migrate(config));
    onProgress(`database: ${applied.length ? `applied ${applied.join(', ')}` : 'the schema is up to date'}`);
    const processes = await startGroups({ tree, config, monitor, env: given, log, onProgress });
    return {
      ...addressesOf(processes, config),
      config,
      pids: () => tree.pids(),
      close: () => tree.close(),
      failed: tree.failed,
    };
  } catch (error) {
    await tree.close();
    throw error;
  }
}

interface GroupOptions extends Required<LocalSystemOptions> {
  tree: ProcessTree;
  config: Config;
  monitor: BrokerMonitor | undefined;
}

/** Starts all groups at the same time. @throws the error of the first group that failed, once all have ended their start. */
async function startGroups({
  tree,
  config,
  monitor,
  env,
  log,
  onProgress,
}: GroupOptions): Promise<Supervisor<ServiceProcess>[]> {
  const childEnv: NodeJS.ProcessEnv = { ...env, ...engineEnv(config), DATA_DIR: config.DATA_DIR };
  // Only the api reads and writes personal fields.
  const { PERSONAL_KEYS: _, PERSONAL_INDEX_KEYS: __, ...impersonalEnv } = childEnv;
  const starting = SERVICE_GROUPS.map((services, i) => {
    const name = services.join('+');
    onProgress(`services: starting ${services.join(', ')}`);
    // Each process has an operator's port of its own.
    const OPS_PORT = String(config.OPS_PORT && config.OPS_PORT + i);
    return tree.start<ServiceProcess>(name, (previous) =>
      startServiceProcess({
        services,
        env: { ...(services.includes('api') ? childEnv : impersonalEnv), OPS_PORT },
        previous,
        log,
        onRefusal: (since) => monitor?.reportRefusal(name, since),
      }),
    );
  });
  const results = await tree.unlessFailed(Promise.allSettled(starting));
  return results.map((result) => {
    if (result.status === 'rejected') throw result.reason;
    return result.value;
  });
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

function addressesOf(processes: Supervisor<ServiceProcess>[], config: Config): Pick<LocalSystem, 'addresses' | 'ops'> {
  const addresses: Record<string, string> = {};
  const ops: LocalSystem['ops'] = [];
  for (const { current } of processes) {
    const { ops: url, ...others } = current.addresses;
    Object.assign(addresses, others);
    ops.push({ name: current.services.join('+'), url: url! });
  }
  addresses.nats = config.NATS_URL!;
  addresses.postgres = config.DATABASE_URL!.replace(/:[^:@/]*@/, '@');
  return { addresses, ops };
}
