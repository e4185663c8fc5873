/** The embedded database: a real Postgres on loopback. */
import { chownSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Client } from 'pg';
import type { Config } from '../../shared/config/index.ts';
import { freePort } from '../../shared/ports.ts';
import { type ChildOptions, endStray, startChild, tail } from './child.ts';
import type { Secrets } from './data-dir.ts';
import { type Engine, Hopeless, until } from './engine.ts';
import { type Durability, renameDurably } from './fsync.ts';
import { clusterExists, dataOf, type Place, postgresPlace } from './postgres-home.ts';

const START_TIMEOUT_MS = 120_000;
const USER = 'sealwire';

export interface PostgresOptions {
  config: Pick<Config, 'DURABILITY'>;
  /** Holds the log, and the cluster where the user can reach it. */
  dir: string;
  secrets: Secrets;
  /** 0: any free one. */
  port?: number;
}

/** Starts the database and returns once it answers queries; rejects with the end of its log when it does not. */
export async function startPostgres({ config, dir, secrets, port = 0 }: PostgresOptions): Promise<Engine> {
  const { DURABILITY } = config;
  const place = postgresPlace(dir, secrets.broker, DURABILITY);
  const log = join(dir, 'postgres.log');
  if (!clusterExists(dir)) await initialise(place, secrets, log, DURABILITY);
  await endStray(join(place.data, 'postmaster.pid'), place.data);
  if (DURABILITY === 'durable' && ranFast(place)) await initdb(place, log, ['--sync-only', '-D', place.data]);
  for (let attempt = 1; ; attempt++) {
    const chosen = port || (await freePort());
    try {
      return await startAt(chosen, place, DURABILITY, secrets, log);
    } catch (error) {
      // A free port may have been taken between the look and the start; on a fixed one, what a killed server left
      // (its backends, its shared memory) may need a moment to go.
      if (attempt === (port ? 25 : 3) || error instanceof Hopeless) throw error;
      if (port) await new Promise((resolve) => setTimeout(resolve, 200));
    }
  }
}

async function startAt(
  port: number,
  place: Place,
  durability: Durability,
  secrets: Secrets,
  log: string,
): Promise<Engine> {
  const settings = {
    listen_addresses: '127.0.0.1',
    port,
    unix_socket_directories: '',
    max_connections: 200,
    shared_buffers: '128MB',
    wal_compression: 'on',
    log_min_messages: 'warning',
    cluster_name: `sealwire-${secrets.broker}`,
    // Fast: only a power cut can lose what was committed, never a kill -9.
    ...(durability === 'fast'
      ? { fsync: 'off', full_page_writes: 'off', wal_level: 'minimal', max_wal_senders: 0 }
      : {}),
  };
  const args = Object.entries(settings).flatMap(([name, value]) => ['-c', `${name}=${value}`]);
  const child = startChild(join(place.bin, 'postgres'), ['-D', place.data, ...args], {
    orphan: 'INT',
    log,
    ...as(place),
  });
  const url = urlOf(secrets, port);
  try {
    const ask = async (): Promise<true> => {
      if (!child.alive()) throw new Hopeless('it ended');
      return await answers(url, place.data);
    };
    await until(ask, START_TIMEOUT_MS);
    return {
      name: 'postgres',
      url,
      port,
      pid: child.pid,
      exited: child.exited,
      signal: child.signal,
      stop: () => child.stop('SIGINT', 15_000),
    };
  } catch (error) {
    await child.stop('SIGQUIT', 5_000);
    throw new Error(`Postgres (${place.bin}) did not start: ${(error as Error).message}\n${tail(log)}`);
  }
}

const urlOf = ({ postgres }: Secrets, port: number): string =>
  `postgres://${USER}:${postgres}@127.0.0.1:${port}/${USER}`;

/** Address of the database that runs in `dir` now. @throws when none does. */
export function postgresUrl(dir: string, secrets: Secrets): string {
  const port = Number(readFileSync(join(dataOf(dir), 'postmaster.pid'), 'utf8').split('\n')[3]);
  return urlOf(secrets, port);
}

/** Looks whether the server that answers is the one of this directory; makes the database at the first start. */
async function answers(url: string, data: string): Promise<true> {
  const admin = new Client({ connectionString: url.replace(/\/[^/]*$/, '/postgres'), connectionTimeoutMillis: 5_000 });
  admin.on('error', () => {});
  try {
    await admin.connect();
    const found = await admin.query<{ data_directory: string }>('SHOW data_directory');
    if (found.rows[0]?.data_directory !== data) throw new Error('another Postgres answers on its port');
    const exists = await admin.query('SELECT 1 FROM pg_database WHERE datname = $1', [USER]);
    if (exists.rowCount === 0) await admin.query(`CREATE DATABASE ${USER}`);
    return true;
  } catch (error) {
    const refused = (error as { code?: string }).code === '28P01';
    throw refused ? new Hopeless('the password in secrets.json is not the one this cluster was made with') : error;
  } finally {
    await admin.end().catch(() => {});
  }
}

/** A new cluster, made beside its place and moved there when it is whole, in the durable profile also on disk. */
async function initialise(place: Place, secrets: Secrets, log: string, durability: Durability): Promise<void> {
  const temporary = `${place.data}.new`;
  const password = `${place.data}.password`;
  rmSync(temporary, { recursive: true, force: true });
  mkdirSync(temporary, { mode: 0o700 });
  writeFileSync(password, secrets.postgres, { mode: 0o600 });
  if (place.user) for (const path of [temporary, password]) chownSync(path, place.user.uid, place.user.gid);
  try {
    await initdb(place, log, [
      '-D',
      temporary,
      '-U',
      USER,
      '-A',
      'scram-sha-256',
      `--pwfile=${password}`,
      '-E',
      'UTF8',
      '--locale-provider=builtin',
      '--builtin-locale=C.UTF-8',
      '--locale=C',
      '--no-instructions',
      ...(durability === 'fast' ? ['--no-sync'] : []),
    ]);
    renameDurably(temporary, place.data, durability);
  } finally {
    rmSync(password, { force: true });
  }
}

async function initdb(place: Place, log: string, args: string[]): Promise<void> {
  const child = startChild(join(place.bin, 'initdb'), args, { orphan: 'KILL', log, ...as(place) });
  const { code } = await child.exited;
  if (code !== 0) throw new Error(`initdb (${place.bin}) failed:\n${tail(log)}`);
}

/** Whether it last ran without fsync: files written then may not be on disk, and nothing would sync them later. */
function ranFast(place: Place): boolean {
  try {
    return readFileSync(join(place.data, 'postmaster.opts'), 'utf8').includes('fsync=off');
  } catch {
    return false;
  }
}

function as(place: Place): Pick<ChildOptions, 'uid' | 'gid' | 'cwd' | 'env'> {
  // Nothing of this process's environment matters to Postgres, and some of it (PG*) would mislead it.
  const env = { PATH: process.env.PATH, LC_ALL: 'C', TZ: 'UTC' };
  return { env, cwd: '/', ...(place.user ? { uid: place.user.uid, gid: place.user.gid } : {}) };
}
