/** DATA_DIR: one owner at a time, secrets that only the owner can read. */
import { randomBytes } from 'node:crypto';
import { chmodSync, existsSync, linkSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

export interface Secrets {
  /** Names this broker, so that a client can tell that it reached its own. */
  broker: string;
  nats: string;
  postgres: string;
  /** 32 bytes each in base64, see PERSONAL_KEYS and PERSONAL_INDEX_KEYS. */
  personal: string;
  personal_index: string;
}

/** Takes the directory for this process; throws naming the owner when another living process has it. */
export function lockDataDir(dir: string): () => void {
  mkdirSync(dir, { recursive: true });
  const lock = join(dir, 'lock');
  const mine = join(dir, `lock.${process.pid}`);
  const content = `${process.pid} ${startOf(process.pid)}\n`;
  writeFileSync(mine, content, { mode: 0o644 });
  try {
    for (let attempt = 0; attempt < 5; attempt++) {
      try {
        linkSync(mine, lock);
        return () => {
          if (read(lock) === content) rmSync(lock, { force: true });
        };
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
      }
      const seen = read(lock);
      const [pid, started] = seen.trim().split(' ');
      if (pid && started && startOf(Number(pid)) === started) {
        throw new Error(`${dir} is in use by process ${pid}. Stop that one, or set DATA_DIR to another directory.`);
      }
      // Stale. Moved away and looked at again, in case somebody else took it over meanwhile.
      const stale = `${lock}.stale.${process.pid}`;
      try {
        renameSync(lock, stale);
        if (read(stale) !== seen) linkSync(stale, lock);
        rmSync(stale, { force: true });
      } catch {
        // Another process was quicker: look again.
      }
    }
    throw new Error(`${dir} could not be locked: others are starting in it at the same time`);
  } finally {
    rmSync(mine, { force: true });
  }
}

const read = (path: string): string => {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
};

/** When a process started, so that a number used again is not taken for the old owner; empty when it is gone. */
function startOf(pid: number): string {
  const stat = read(`/proc/${pid}/stat`);
  if (stat)
    return `${read('/proc/sys/kernel/random/boot_id').slice(0, 8)}-${stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19]}`;
  if (existsSync('/proc/self/stat')) return '';
  try {
    process.kill(pid, 0);
    return 'alive';
  } catch {
    return '';
  }
}

/** The secrets of this directory, made at the first start; what a newer version wants is added. The file has mode 600. */
export function secretsOf(dir: string): Secrets {
  mkdirSync(dir, { recursive: true });
  const path = join(dir, 'secrets.json');
  const known: Partial<Secrets> = existsSync(path) ? JSON.parse(readFileSync(path, 'utf8')) : {};
  const secret = (): string => randomBytes(24).toString('base64url');
  const key = (): string => randomBytes(32).toString('base64');
  const secrets: Secrets = {
    broker: randomBytes(6).toString('hex'),
    nats: secret(),
    postgres: secret(),
    personal: key(),
    personal_index: key(),
    ...known,
  };
  if (Object.keys(known).length === Object.keys(secrets).length) return secrets;
  const temporary = `${path}.${process.pid}`;
  writeFileSync(temporary, `${JSON.stringify(secrets, null, 2)}\n`, { mode: 0o600 });
  chmodSync(temporary, 0o600);
  renameSync(temporary, path);
  return secrets;
}
