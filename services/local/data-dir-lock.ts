/** The lock of DATA_DIR: one process owns the directory at a time. */
import { existsSync, linkSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

const ATTEMPTS = 5;

/**
 * Takes the directory for this process.
 * @returns what releases it.
 * @throws an error that names the owner, when another living process has the directory.
 */
export function lockDataDir(dir: string): () => void {
  mkdirSync(dir, { recursive: true });
  const lock = join(dir, 'lock');
  const mine = join(dir, `lock.${process.pid}`);
  const content = `${process.pid} ${processStart(process.pid)}\n`;
  writeFileSync(mine, content, { mode: 0o644 });
  try {
    for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
      try {
        linkSync(mine, lock);
        return () => {
          if (readIfExists(lock) === content) rmSync(lock, { force: true });
        };
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
      }
      const seen = readIfExists(lock);
      const [pid, started] = seen.trim().split(' ');
      if (pid && started && processStart(Number(pid)) === started)
        throw new Error(`${dir} is in use by process ${pid}. End that process, or set DATA_DIR to another directory.`);
      removeStale(lock, seen);
    }
    throw new Error(`${dir} could not be locked, since other processes are starting in it: start again later`);
  } finally {
    rmSync(mine, { force: true });
  }
}

/** Moves the stale lock away and reads it again, in case another process has taken it over meanwhile. */
function removeStale(lock: string, seen: string): void {
  const stale = `${lock}.stale.${process.pid}`;
  try {
    renameSync(lock, stale);
    if (readIfExists(stale) !== seen) linkSync(stale, lock);
    rmSync(stale, { force: true });
  } catch {
    // Another process was quicker: the next attempt sees its lock.
  }
}

function readIfExists(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}

/**
 * Identifies the start of a process, so that a process which got the id of a dead owner is not taken for the owner.
 * @returns an empty text when the process is gone.
 */
function processStart(pid: number): string {
  const stat = readIfExists(`/proc/${pid}/stat`);
  if (stat) {
    // Fields from the third one on: the second one, the name, may contain spaces and parentheses.
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    const [state] = fields;
    // A zombie (in a container nobody may ever reap it), or a process that is being removed, holds nothing any more.
    if (state === 'Z' || state === 'X') return '';
    return `${readIfExists('/proc/sys/kernel/random/boot_id').slice(0, 8)}-${fields[19]}`;
  }
  if (existsSync('/proc/self/stat')) return '';
  try {
    process.kill(pid, 0);
    return 'alive';
  } catch {
    return '';
  }
}
