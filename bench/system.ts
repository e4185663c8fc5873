/** What is measured: the whole tree as `npm start` runs it, in a temporary directory, with limits that do not limit. */
import { chmodSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { NatsConnection } from 'nats';
import { connectNats } from '../nats/connect.ts';
import { type LocalSystem, startLocalSystem } from '../services/local/local-system.ts';
import { guardTemporaryDir } from '../services/local/watchdog.ts';
import type { Config } from '../shared/config/index.ts';
import { type Database, openDatabase } from '../shared/db/database.ts';
import { Backlog } from './backlog.ts';
import type { Processes } from './cpu.ts';
import { type Account, makeAccounts } from './people.ts';

export type Profile = Config['DURABILITY'];

export interface System {
  /** Socket and HTTP addresses. */
  edge: string;
  api: string;
  profile: Profile;
  tree: LocalSystem;
  db: Database;
  /** As `admin`. */
  nc: NatsConnection;
  backlog: Backlog;
  processes: Processes;
  accounts(count: number): Promise<Account[]>;
  stop(): Promise<void>;
}

const NO_LIMIT = '1000000000';

export interface SystemOptions {
  profile: Profile;
  say(line: string): void;
  env?: Record<string, string>;
  /** Directory into which every service process writes a CPU profile when it ends. */
  cpuProf?: string | undefined;
  /** More flags of Node for the service processes. */
  execArgv?: string[];
}

export async function startSystem({ profile, say, env = {}, cpuProf, execArgv = [] }: SystemOptions): Promise<System> {
  const dir = mkdtempSync(join(tmpdir(), 'sealwire-bench-'));
  // The user as whom Postgres runs must be able to walk through.
  chmodSync(dir, 0o711);
  guardTemporaryDir(dir);
  const clean = (): void => {
    guardTemporaryDir(undefined);
    rmSync(dir, { recursive: true, force: true, maxRetries: 5 });
  };
  // Service processes are started with this process's own flags.
  const flags = process.execArgv.length;
  process.execArgv.push(...execArgv);
  if (cpuProf) process.execArgv.push('--cpu-prof', `--cpu-prof-dir=${cpuProf}`);
  try {
    const tree = await startLocalSystem({
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
    const db = await openDatabase(tree.config);
    const nc = await connectNats(tree.config, 'admin');
    void tree.failed.then((reason) => say(`the system stopped: ${reason}`));
    return {
      edge: tree.addresses.edge!,
      api: tree.addresses.api!,
      profile,
      tree,
      db,
      nc,
      backlog: await Backlog.open(nc, tree.config),
      processes: () => tree.pids(),
      accounts: (count) => makeAccounts(db, tree.config, tree.addresses.api!, count),
      async stop() {
        await nc.close();
        await db.close();
        await tree.close();
        clean();
      },
    };
  } catch (error) {
    clean();
    throw error;
  } finally {
    process.execArgv.length = flags;
  }
}
