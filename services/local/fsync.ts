/**
 * Writes files and directories that survive a power cut. A file does so only when its content and the directory that names
 * it were fsynced, and that directory only when its own parent was.
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

function fsyncPath(path: string): void {
  const fd = openSync(path, 'r');
  try {
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
}

/** Fsyncs `dir` and all its parents: a parent that an earlier start made may not be on disk yet. */
export function fsyncUpwards(dir: string, durability: Durability): void {
  if (durability === 'fast') return;
  for (let current = resolve(dir); ; current = dirname(current)) {
    try {
      fsyncPath(current);
    } catch (error) {
      // A parent that this user may pass through but not read was not made by this program.
      const { code } = error as NodeJS.ErrnoException;
      if (current === resolve(dir) || (code !== 'EACCES' && code !== 'EPERM')) throw error;
    }
    if (current === dirname(current)) return;
  }
}

/** Makes a directory, with its parents, that survives a power cut. */
export function makeDurableDir(dir: string, mode: number, durability: Durability): void {
  const first = mkdirSync(dir, { recursive: true, mode });
  if (first !== undefined) fsyncUpwards(dir, durability);
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

/** Renames, and fsyncs the directory of the new name. */
export function renameDurably(from: string, to: string, durability: Durability): void {
  renameSync(from, to);
  if (durability === 'durable') fsyncPath(dirname(to));
}

/** Fsyncs everything below `dir`, and `dir`. */
export function fsyncTree(dir: string): void {
  for (const entry of readEntries(dir)) {
    const path = join(dir, entry.name);
    if (entry.isDirectory()) fsyncTree(path);
    else if (entry.isFile()) unlessRemoved(() => fsyncPath(path));
  }
  unlessRemoved(() => fsyncPath(dir));
}

/** Fsyncs `dir` and the directories below it, `depth` levels down. */
export function fsyncDirectories(dir: string, depth: number): void {
  if (depth > 0)
    for (const entry of readEntries(dir)) if (entry.isDirectory()) fsyncDirectories(join(dir, entry.name), depth - 1);
  unlessRemoved(() => fsyncPath(dir));
}

const readEntries = (dir: string): Dirent[] => unlessRemoved(() => readdirSync(dir, { withFileTypes: true })) ?? [];

/** Ignores that a path does not exist: a file that its owner removed meanwhile needs no fsync. */
function unlessRemoved<T>(work: () => T): T | undefined {
  try {
    return work();
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
    return undefined;
  }
}
