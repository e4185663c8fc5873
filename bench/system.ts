/** Starts the system under measurement: all that `npm start` runs, in a temporary directory, without rate limits. */
import { chmodSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { NatsConnection } from 'nats';
import { connectNats } from '../nats/connect.ts';
import { type LocalSystem, startLocalSystem } from '../services/local/local-system.ts';
import { guardTemporaryDir } from '../services/local/watchdog.ts';
import type { Config } from '../shared/config/index.ts';
import { type Database, openDatabase } from '../shared/db/database.ts';
import { type Account, createAccounts } from './accounts.ts';
import { WorkerBacklog } from './backlog.ts';
import type { Processes } from './cpu.ts';

export type Profile = Config['DURABILITY'];

export interface BenchSystem {
  /** Address of the edge's socket. */
  edge: string;
  /** Base URL of the API. */
  api: string;
  profile: Profile;
  localSystem: LocalSystem;
  db: Database;
  /** Connected as `admin`. */
  nc: NatsConnection;
  backlog: WorkerBacklog;
  processes: Processes;
  createAccounts(count: number): Promise<Account[]>;
  close(): Promise<void>;
}

const NO_LIMIT = '1000000000';

export interface SystemOptions {
  profile: Profile;
  log(line: string): void;
  env?: Record<string, string>;
  /** Directory into which every service process writes a CPU profile when it ends. */
  cpuProf?: string | undefined;
  /** Additional flags of Node for the service processes. */
  execArgv?: string[];
}

export async function startBenchSystem({
  profile,
  log,
  env = {},
  cpuProf,
  execArgv = [],
}: SystemOptions): Promise<BenchSystem> {
  const dir = mkdtempSync(join(tmpdir(), 'sealwire-bench-'));
  // Postgres runs as an unprivileged user, who must be able to traverse the directory.
  chmodSync(dir, 0o711);
  guardTemporaryDir(dir);
  const removeDir = (): void => {
    guardTemporaryDir(undefined);
    rmSync(dir, { recursive: true, force: true, maxRetries: 5 });
  };
  // Service processes inherit the flags of this process, so the additional ones are added to its own while they start.
  const ownFlagCount = process.execArgv.length;
  process.execArgv.push(...execArgv);
  if (cpuProf) process.execArgv.push('--cpu-prof', `--cpu-prof-dir=${cpuProf}`);
  try {
    const localSystem = await startLocalSystem({
      env: {
        DATA_DIR: dir,
        HOST: '127.0.0.1',
        PORT: '0',
        EDGE_PORT: '0',
        NATS_URL: undefined,
        DATABASE_URL: undefined,
        DURABILITY: profile,
        LOG_LEVEL: 'warn',
        WS_RATE_LIMIT_MAX_COMMANDS: NO_LIMIT,
        WS_MAX_CONNECTIONS_PER_IP: NO_LIMIT,
        AUTH_RATE_LIMIT_MAX_REQUESTS: NO_LIMIT,
        ACCESS_TOKEN_EXPIRE_MINUTES: '1440',
        ...env,
      },
      log: join(dir, 'services.log'),
    });
    const db = await openDatabase(localSystem.config);
    const nc = await connectNats(localSystem.config, 'admin');
    void localSystem.failed.then((reason) => log(`the system stopped: ${reason}`));
    return {
      edge: localSystem.addresses.edge!,
      api: localSystem.addresses.api!,
      profile,
      localSystem,
      db,
      nc,
      backlog: await WorkerBacklog.open(nc, localSystem.config),
      processes: () => localSystem.pids(),
      createAccounts: (count) => createAccounts(db, localSystem.config, localSystem.addresses.api!, count),
      async close() {
        await nc.close();
        await db.close();
        await localSystem.close();
        removeDir();
      },
    };
  } catch (error) {
    removeDir();
    throw error;
  } finally {
    process.execArgv.length = ownFlagCount;
  }
}
