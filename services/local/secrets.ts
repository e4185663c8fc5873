/** The secrets of a data directory, in a file that only its owner can read. */
import { randomBytes } from 'node:crypto';
import { accessSync, existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { type Durability, fsyncUpwards, makeDurableDir, replaceFile } from './fsync.ts';
import { clusterExists } from './postgres-installation.ts';

export interface Secrets {
  /** Part of the broker's name, so that a client can tell that it reached its own broker. */
  broker: string;
  nats: string;
  postgres: string;
  /** 32 bytes each in base64, see PERSONAL_KEYS and PERSONAL_INDEX_KEYS. */
  personal: string;
  personal_index: string;
}

/** The message names the file, says what is wrong with it, and what to do. */
export class UnusableSecretsError extends Error {
  override name = 'UnusableSecretsError';
}

/** The secrets without which existing data cannot be opened. The others came with later versions and are added. */
const REQUIRED: (keyof Secrets)[] = ['broker', 'nats', 'postgres'];

/**
 * Reads the secrets of a directory. Makes them at the first start, and adds those that a newer version needs. The file has
 * mode 600 and is on disk when this returns.
 * @throws {UnusableSecretsError} when the file is not usable, or is missing while there is data.
 */
export function openSecrets(dir: string, durability: Durability = 'durable'): Secrets {
  makeDurableDir(dir, 0o777, durability);
  const path = join(dir, 'secrets.json');
  const known = readKnown(dir, path);
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
  // An earlier start may have been killed before it synced the directory.
  fsyncUpwards(dir, durability);
  return secrets;
}

/** Reads the secrets of a directory in which something ran. @throws where nothing did: it makes none. */
export function readSecrets(dir: string): Secrets {
  accessSync(join(dir, 'secrets.json'));
  return openSecrets(dir);
}

/** @returns the content of the file, checked; nothing at the first start. */
function readKnown(dir: string, path: string): Partial<Secrets> {
  const text = existsSync(path) ? readFileSync(path, 'utf8') : undefined;
  const [known, wrong] = text === undefined ? [{}, 'is missing'] : parseSecrets(text);
  if (!wrong) return known;
  const hasData = holdsData(dir);
  if (text === undefined && !hasData) return {};
  // New secrets would open nothing: the passwords of the engines and the keys of personal fields are in this file only.
  const remedy = hasData
    ? `${dir} holds data that can't be opened without it: restore the file from a backup`
    : `${dir} holds no data yet: remove the file and start again`;
  throw new UnusableSecretsError(`${path} ${wrong}. ${remedy}.`);
}

/** @returns the secrets, and what is wrong with the text, if anything. */
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
  const unusable = Object.entries(known).filter(([, secret]) => typeof secret !== 'string' || secret === '');
  const missing = REQUIRED.filter((name) => !(name in known));
  const names = [...unusable.map(([name]) => name), ...missing];
  return [known, names.length ? `is incomplete: it has no usable ${names.join(', ')}` : undefined];
}

/** Whether a broker or a database stored anything in the directory. */
const holdsData = (dir: string): boolean =>
  existsSync(join(dir, 'nats', 'jetstream')) || clusterExists(join(dir, 'postgres'));
