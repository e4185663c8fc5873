/** Starts the broker of `npm start`: a real nats-server on loopback. */
import { existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { jetstreamManager } from '@nats-io/jetstream';
import { renderNatsConf } from '../../nats/broker-conf.ts';
import { connectNats } from '../../nats/connect.ts';
import { UnrecoverableError, waitFor } from '../../shared/async/wait-for.ts';
import type { Config } from '../../shared/config/index.ts';
import { type Child, lastLines, startChild } from './child.ts';
import type { Engine } from './engine.ts';
import { fsyncDirectories, fsyncTree, makeDurableDir } from './fsync.ts';
import { findNatsBinary } from './nats-binary.ts';
import type { Secrets } from './secrets.ts';
import { endStrayProcess } from './stray-process.ts';

const START_TIMEOUT_MS = 120_000;

interface NatsOptions {
  config: Pick<Config, 'DURABILITY' | 'NATS_SERVER_BIN' | 'NATS_MAX_FILE_STORE' | 'PARTITIONS' | 'INBOX_SHARDS'>;
  /** Holds the configuration, the log and the streams. */
  dir: string;
  secrets: Secrets;
  /** 0 lets the kernel choose. */
  port?: number;
}

/** Starts the broker and resolves once JetStream answers. @throws with the end of its log when it does not start. */
export async function startNats({ config, dir, secrets, port = 0 }: NatsOptions): Promise<Engine> {
  const binary = findNatsBinary(config.NATS_SERVER_BIN);
  makeDurableDir(dir, 0o700, config.DURABILITY);
  const pidFile = join(dir, 'pid');
  const confFile = join(dir, 'nats.conf');
  const log = join(dir, 'nats.log');
  await endStrayProcess(pidFile, confFile);
  for (const file of readdirSync(dir)) if (file.endsWith('.ports')) rmSync(join(dir, file));
  if (config.DURABILITY === 'durable' && ranWithoutFsync(confFile)) fsyncTree(join(dir, 'jetstream'));
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
    const bound = port || (await waitFor(async () => readPort(dir, living(child)), START_TIMEOUT_MS, 5));
    const url = `nats://127.0.0.1:${bound}`;
    const attempt = async (): Promise<true> => {
      living(child);
      return await checkBroker(url, secrets.nats, name);
    };
    await waitFor(attempt, START_TIMEOUT_MS, 50);
    return {
      name: 'nats',
      url,
      port: bound,
      pid: child.pid,
      exited: child.exited,
      signal: child.signal,
      close: () => child.close('SIGINT', 15_000),
    };
  } catch (error) {
    await child.close('SIGKILL', 0);
    throw new Error(`nats-server (${binary}) did not start: ${(error as Error).message}\n${lastLines(log)}`);
  }
}

/** @returns the process id. @throws {UnrecoverableError} when the process has ended. */
function living(child: Child): number {
  if (!child.isAlive()) throw new UnrecoverableError('it ended');
  return child.pid;
}

/** Whether the last run was in the fast profile: what it wrote may not be on disk, and nothing would sync it later. */
const ranWithoutFsync = (confFile: string): boolean =>
  existsSync(confFile) && /^# .*Profile: fast/m.test(readFileSync(confFile, 'utf8'));

/**
 * Fsyncs the directories of the streams. The broker fsyncs its files and their directories, but not the parent directories
 * that it makes for a new stream.
 */
export function fsyncStreamDirectories(dir: string): void {
  // dir / jetstream / account / streams / stream / msgs and obs
  fsyncDirectories(dir, 5);
}

function readPort(dir: string, pid: number): number | undefined {
  const file = readdirSync(dir).find((name) => name.endsWith(`_${pid}.ports`));
  if (!file) return undefined;
  const ports = JSON.parse(readFileSync(join(dir, file), 'utf8')) as { nats?: string[] };
  return Number(new URL(ports.nats![0]!).port);
}

/** @throws unless the broker of this directory answers at `url`, with its streams up. */
async function checkBroker(url: string, secret: string, name: string): Promise<true> {
  const nc = await connectNats({ NATS_URL: url, NATS_SECRET: secret }, 'admin', false);
  try {
    if (nc.info?.server_name !== name) throw new Error(`${url} is another server: ${nc.info?.server_name}`);
    await (await jetstreamManager(nc, { timeout: 5_000 })).getAccountInfo();
    return true;
  } finally {
    await nc.close();
  }
}
