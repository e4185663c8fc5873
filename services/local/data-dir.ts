/** DATA_DIR: one owner at a time, secrets that only the owner can read. */
import { randomBytes } from 'node:crypto';
import { accessSync, existsSync, linkSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type Durability, makeDir, replaceFile, syncUpwards } from './fsync.ts';
import { clusterExists } from './postgres-home.ts';

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
  if (stat) {
    // From the third field on; the second, the name, may hold spaces and parentheses.
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    const [state] = fields;
    // Killed and not reaped yet (in a container often for ever), or just being removed: it holds nothing any more.
    if (state === 'Z' || state === 'X') return '';
    return `${read('/proc/sys/kernel/random/boot_id').slice(0, 8)}-${fields[19]}`;
  }
  if (existsSync('/proc/self/stat')) return '';
  try {
    process.kill(pid, 0);
    return 'alive';
  } catch {
    return '';
  }
}

/** The message says which file, what is wrong with it, and what to do. */
export class UnusableSecrets extends Error {
  override name = 'UnusableSecrets';
}

/** Without these, data that exists can't be opened. The others came with later versions and are added. */
const FIRST: (keyof Secrets)[] = ['broker', 'nats', 'postgres'];

/**
 * The secrets of this directory, made at the first start; what a newer version wants is added. The file has mode 600
 * and is on disk when this returns. @throws when the file can't be used, or is gone while there is data
 */
export function secretsOf(dir: string, durability: Durability = 'durable'): Secrets {
  makeDir(dir, 0o777, durability);
  const path = join(dir, 'secrets.json');
  const known = knownSecrets(dir, path);
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
  if (Object.keys(known).length < Object.keys(secrets).length)
    replaceFile(path, `${JSON.stringify(secrets, null, 2)}\n`, 0o600, durability);
  // An earlier start may have been killed before it came so far.
  syncUpwards(dir, durability);
  return secrets;
}

/** The secrets of a directory in which something ran. @throws where nothing did: none are made then */
export function secretsThere(dir: string): Secrets {
  accessSync(join(dir, 'secrets.json'));
  return secretsOf(dir);
}

/** What stands in the file, checked; nothing at the first start. */
function knownSecrets(dir: string, path: string): Partial<Secrets> {
  const text = existsSync(path) ? readFileSync(path, 'utf8') : undefined;
  const [known, wrong] = text === undefined ? [{}, 'is missing'] : parseSecrets(text);
  if (!wrong) return known;
  const holdsData = dataIn(dir);
  if (text === undefined && !holdsData) return {};
  // New secrets would open nothing: the passwords of the engines and the keys of personal fields are in this file only.
  const remedy = holdsData
    ? `${dir} holds data that can't be opened without it: restore the file from a backup`
    : `${dir} holds no data yet: remove the file and start again`;
  throw new UnusableSecrets(`${path} ${wrong}. ${remedy}.`);
}

function parseSecrets(text: string): [Partial<Secrets>, string | undefined] {
  if (text.trim() === '') return [{}, 'is empty'];
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return [{}, 'is not valid JSON'];
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return [{}, 'is not a JSON object'];
  const known = value as Partial<Secrets>;
  const unusable = Object.entries(known).filter(([, one]) => typeof one !== 'string' || one === '');
  const missing = FIRST.filter((name) => !(name in known));
  const names = [...unusable.map(([name]) => name), ...missing];
  return [known, names.length ? `is incomplete: it has no usable ${names.join(', ')}` : undefined];
}

/** Whether a broker or a database kept anything here. */
const dataIn = (dir: string): boolean =>
  existsSync(join(dir, 'nats', 'jetstream')) || clusterExists(join(dir, 'postgres'));
