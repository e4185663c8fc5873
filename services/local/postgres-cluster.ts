/** Makes the data directory of the database of `npm start`, and brings one that ran without fsync onto the disk. */
import { chownSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type ChildOptions, lastLines, startChild } from './child.ts';
import { type Durability, renameDurably } from './fsync.ts';
import type { PostgresInstallation } from './postgres-installation.ts';
import type { Secrets } from './secrets.ts';

/** The user of the database, and its name. */
export const POSTGRES_USER = 'sealwire';

/** Makes a cluster beside its final directory and renames it when it is complete, in the durable profile also on disk. */
export async function createCluster(
  installation: PostgresInstallation,
  secrets: Secrets,
  log: string,
  durability: Durability,
): Promise<void> {
  const { data, user } = installation;
  const temporary = `${data}.new`;
  const password = `${data}.password`;
  rmSync(temporary, { recursive: true, force: true });
  mkdirSync(temporary, { mode: 0o700 });
  writeFileSync(password, secrets.postgres, { mode: 0o600 });
  if (user) for (const path of [temporary, password]) chownSync(path, user.uid, user.gid);
  try {
    await runInitdb(installation, log, [
      '-D',
      temporary,
      '-U',
      POSTGRES_USER,
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
    renameDurably(temporary, data, durability);
  } finally {
    rmSync(password, { force: true });
  }
}

/** Fsyncs a cluster whose last run was without fsync: what it wrote may not be on disk, and nothing would sync it later. */
export async function syncCluster(installation: PostgresInstallation, log: string): Promise<void> {
  if (ranWithoutFsync(installation)) await runInitdb(installation, log, ['--sync-only', '-D', installation.data]);
}

async function runInitdb(installation: PostgresInstallation, log: string, args: string[]): Promise<void> {
  const { bin } = installation;
  const child = startChild(join(bin, 'initdb'), args, { orphan: 'KILL', log, ...processOptions(installation) });
  const { code } = await child.exited;
  if (code !== 0) throw new Error(`initdb (${bin}) failed:\n${lastLines(log)}`);
}

function ranWithoutFsync({ data }: PostgresInstallation): boolean {
  try {
    return readFileSync(join(data, 'postmaster.opts'), 'utf8').includes('fsync=off');
  } catch {
    return false;
  }
}

/** @returns user, directory and environment of the processes of an installation. */
export function processOptions({ user }: PostgresInstallation): Pick<ChildOptions, 'uid' | 'gid' | 'cwd' | 'env'> {
  // Postgres needs nothing of this process's environment, and some of it (PG*) would mislead it.
  const env = { PATH: process.env.PATH, LC_ALL: 'C', TZ: 'UTC' };
  return { env, cwd: '/', ...(user ? { uid: user.uid, gid: user.gid } : {}) };
}
