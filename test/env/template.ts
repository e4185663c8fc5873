/**
 * Makes a Postgres cluster with the whole schema once per version of the migrations and copies it for each test file,
 * because `initdb` and the migrations take longer than many a test.
 */
import { execFileSync } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { startPostgres } from '../../services/local/postgres.ts';
import { preparePostgres } from '../../services/local/postgres-installation.ts';
import { openSecrets } from '../../services/local/secrets.ts';
import { readConfig } from '../../shared/config/index.ts';
import { migrate } from '../../shared/db/migrate.ts';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
/** Files that determine the content of the cluster. */
const SOURCES = ['shared/db/migrations', 'shared/db/migrate.ts', 'package-lock.json', 'test/env/template.ts'];
/** The password of every copy. */
const PASSWORD = 'of-a-test';

const tar = (...args: string[]): void => void execFileSync('tar', args);

function fingerprint(): string {
  const hash = createHash('sha256').update(`${process.getuid?.()}`);
  for (const source of SOURCES) {
    const path = join(ROOT, source);
    const names = source.endsWith('migrations') ? readdirSync(path).sort() : [''];
    for (const name of names) hash.update(readFileSync(join(path, name)));
  }
  return hash.digest('hex').slice(0, 16);
}

/** Puts a cluster that needs no migration, and its password, where `startPostgres` looks for them in the new data directory. */
export async function placeCluster(dataDir: string): Promise<void> {
  const template = join(ROOT, 'node_modules', '.cache', 'sealwire', `postgres-${fingerprint()}.tar`);
  if (!existsSync(template)) await make(template);
  const [broker, nats] = [randomBytes(6).toString('hex'), randomBytes(24).toString('base64url')];
  writeFileSync(join(dataDir, 'secrets.json'), JSON.stringify({ broker, nats, postgres: PASSWORD }), { mode: 0o600 });
  const { data } = preparePostgres(join(dataDir, 'postgres'), broker, 'fast');
  // Many times faster than `cp -a`, and it keeps the owners too.
  mkdirSync(data);
  tar('-xpf', template, '-C', data);
}

async function make(template: string): Promise<void> {
  const dir = mkdtempSync(join(tmpdir(), 'sealwire-template-'));
  execFileSync('chmod', ['711', dir]);
  const config = { ...readConfig({}), DURABILITY: 'fast' as const, DATA_DIR: dir };
  const secrets = { ...openSecrets(dir, 'fast'), postgres: PASSWORD };
  const home = join(dir, 'postgres');
  try {
    const engine = await startPostgres({ config, dir: home, secrets });
    try {
      await migrate({ ...config, DATABASE_URL: engine.url });
    } finally {
      await engine.close();
    }
    const mine = `${template}.${randomBytes(4).toString('hex')}`;
    mkdirSync(dirname(template), { recursive: true });
    tar('-cf', mine, '-C', preparePostgres(home, secrets.broker, 'fast').data, '.');
    // Another test file may have made the same template meanwhile; either will do.
    renameSync(mine, template);
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
}
