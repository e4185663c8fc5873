/**
 * What must be on disk before it is built upon: a file is there after a power cut only when its content and the
 * directory that names it were fsynced, and that directory only when its own parent was.
 */
import {
  closeSync,
  type Dirent,
  fchmodSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readdirSync,
  renameSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import type { Config } from '../../shared/config/index.ts';

export type Durability = Config['DURABILITY'];

/** Fsyncs a file or a directory. */
export function sync(path: string): void {
  const fd = openSync(path, 'r');
  try {
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
}

/** Fsyncs `dir` and all its parents: one that an earlier start made may not be on disk yet. */
export function syncUpwards(dir: string, durability: Durability): void {
  if (durability === 'fast') return;
  for (let at = resolve(dir); ; at = dirname(at)) {
    try {
      sync(at);
    } catch (error) {
      // A parent that this user may walk through and not read is not of our making.
      const { code } = error as NodeJS.ErrnoException;
      if (at === resolve(dir) || (code !== 'EACCES' && code !== 'EPERM')) throw error;
    }
    if (at === dirname(at)) return;
  }
}

/** Makes a directory, with its parents, that is there after a power cut. */
export function makeDir(dir: string, mode: number, durability: Durability): void {
  const first = mkdirSync(dir, { recursive: true, mode });
  if (first !== undefined) syncUpwards(dir, durability);
}

/** Replaces the file as a whole: after a power cut it has the old content or the new one. */
export function replaceFile(path: string, content: string, mode: number, durability: Durability): void {
  const temporary = `${path}.${process.pid}`;
  const fd = openSync(temporary, 'w', mode);
  try {
    fchmodSync(fd, mode);
    writeFileSync(fd, content);
    if (durability === 'durable') fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
  renameDurably(temporary, path, durability);
}

export function renameDurably(from: string, to: string, durability: Durability): void {
  renameSync(from, to);
  if (durability === 'durable') sync(dirname(to));
}

/** Fsyncs everything below `dir`, and `dir`. */
export function syncTree(dir: string): void {
  for (const entry of entriesOf(dir)) {
    const path = join(dir, entry.name);
    if (entry.isDirectory()) syncTree(path);
    else if (entry.isFile()) unlessGone(() => sync(path));
  }
  unlessGone(() => sync(dir));
}

/** Fsyncs `dir` and the directories below it, `depth` levels down. */
export function syncDirectories(dir: string, depth: number): void {
  if (depth > 0)
    for (const entry of entriesOf(dir)) if (entry.isDirectory()) syncDirectories(join(dir, entry.name), depth - 1);
  unlessGone(() => sync(dir));
}

const entriesOf = (dir: string): Dirent[] => unlessGone(() => readdirSync(dir, { withFileTypes: true })) ?? [];

/** What its owner removed meanwhile needs no fsync. */
function unlessGone<T>(work: () => T): T | undefined {
  try {
    return work();
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
    return undefined;
  }
}
