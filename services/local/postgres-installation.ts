/**
 * Prepares binaries, data directory and user of the Postgres of `npm start`. Postgres refuses to run as root. So root runs it
 * as an unprivileged user, who must be able to reach the binaries and the data: when DATA_DIR lies in a private home, they
 * are kept in another directory.
 */
import { chownSync, existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { type Durability, makeDurableDir, replaceFile } from './fsync.ts';
import { installBinaries, isReachable } from './postgres-binaries.ts';

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
