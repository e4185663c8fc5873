/** Starts the database of `npm start`: a real Postgres on loopback. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Client } from 'pg';
import { sleep } from '../../shared/async/sleep.ts';
import { UnrecoverableError, waitFor } from '../../shared/async/wait-for.ts';
import type { Config } from '../../shared/config/index.ts';
import { freePort } from '../../shared/ports.ts';
import { lastLines, startChild } from './child.ts';
import type { Engine } from './engine.ts';
import type { Durability } from './fsync.ts';
import { createCluster, POSTGRES_USER, processOptions, syncCluster } from './postgres-cluster.ts';
import { clusterExists, type PostgresInstallation, postgresDataDir, preparePostgres } from './postgres-installation.ts';
import type { Secrets } from './secrets.ts';
import { endStrayProcess } from './stray-process.ts';

const START_TIMEOUT_MS = 120_000;
/** Attempts on a port of our choice, which another process may take before Postgres does. */
const ATTEMPTS = 3;
/** Attempts on a given port: what a killed server left (its backends, its shared memory) may need a moment to go. */
const ATTEMPTS_ON_PORT = 25;
const PAUSE_MS = 200;

interface PostgresOptions {
  config: Pick<Config, 'DURABILITY'>;
  /** Holds the log, and the cluster where the user of Postgres can reach it. */
  dir: string;
  secrets: Secrets;
  /** 0 for any free port. */
  port?: number;
}

/** Starts the database and resolves once it answers queries. @throws with the end of its log when it does not start. */
export async function startPostgres({ config, dir, secrets, port = 0 }: PostgresOptions): Promise<Engine> {
  const { DURABILITY } = config;
  const installation = preparePostgres(dir, secrets.broker, DURABILITY);
  const log = join(dir, 'postgres.log');
  if (!clusterExists(dir)) await createCluster(installation, secrets, log, DURABILITY);
  await endStrayProcess(join(installation.data, 'postmaster.pid'), installation.data);
  if (DURABILITY === 'durable') await syncCluster(installation, log);
  for (let attempt = 1; ; attempt++) {
    const chosen = port || (await freePort());
    try {
      return await startOnPort(chosen, installation, DURABILITY, secrets, log);
    } catch (error) {
      if (attempt === (port ? ATTEMPTS_ON_PORT : ATTEMPTS)) throw error;
      if (port) await sleep(PAUSE_MS);
    }
  }
}

async function startOnPort(
  port: number,
  installation: PostgresInstallation,
  durability: Durability,
  secrets: Secrets,
  log: string,
): Promise<Engine> {
  const { bin, data } = installation;
  const settings = {
    listen_addresses: '127.0.0.1',
    port,
    unix_socket_directories: '',
    max_connections: 200,
    shared_buffers: '128MB',
    wal_compression: 'on',
    log_min_messages: 'warning',
    cluster_name: `sealwire-${secrets.broker}`,
    // In the fast profile only a power cut can lose what was committed, never a kill -9.
    ...(durability === 'fast'
      ? { fsync: 'off', full_page_writes: 'off', wal_level: 'minimal', max_wal_senders: 0 }
      : {}),
  };
  const args = Object.entries(settings).flatMap(([name, value]) => ['-c', `${name}=${value}`]);
  const child = startChild(join(bin, 'postgres'), ['-D', data, ...args], {
    orphan: 'INT',
    log,
    ...processOptions(installation),
  });
  const url = buildUrl(secrets, port);
  try {
    const attempt = async (): Promise<true> => {
      if (!child.isAlive()) throw new UnrecoverableError('it ended');
      return await checkDatabase(url, data);
    };
    await waitFor(attempt, START_TIMEOUT_MS);
    return {
      name: 'postgres',
      url,
      port,
      pid: child.pid,
      exited: child.exited,
      signal: child.signal,
      close: () => child.close('SIGINT', 15_000),
    };
  } catch (error) {
    await child.close('SIGQUIT', 5_000);
    throw new Error(`Postgres (${bin}) did not start: ${(error as Error).message}\n${lastLines(log)}`);
  }
}

const buildUrl = ({ postgres }: Secrets, port: number): string =>
  `postgres://${POSTGRES_USER}:${postgres}@127.0.0.1:${port}/${POSTGRES_USER}`;

/** @returns the URL of the database that runs in `dir` now. @throws when none does. */
export function postgresUrl(dir: string, secrets: Secrets): string {
  const port = Number(readFileSync(join(postgresDataDir(dir), 'postmaster.pid'), 'utf8').split('\n')[3]);
  return buildUrl(secrets, port);
}

/** Makes the database at the first start. @throws unless the Postgres of this directory answers at `url`. */
async function checkDatabase(url: string, data: string): Promise<true> {
  const admin = new Client({ connectionString: url.replace(/\/[^/]*$/, '/postgres'), connectionTimeoutMillis: 5_000 });
  admin.on('error', () => {});
  try {
    await admin.connect();
    const found = await admin.query<{ data_directory: string }>('SHOW data_directory');
    if (found.rows[0]?.data_directory !== data) throw new Error('another Postgres answers on its port');
    const exists = await admin.query('SELECT 1 FROM pg_database WHERE datname = $1', [POSTGRES_USER]);
    if (exists.rowCount === 0) await admin.query(`CREATE DATABASE ${POSTGRES_USER}`);
    return true;
  } catch (error) {
    const refused = (error as { code?: string }).code === '28P01';
    throw refused
      ? new UnrecoverableError('the password in secrets.json is not the one this cluster was made with')
      : error;
  } finally {
    await admin.end().catch(() => {});
  }
}
