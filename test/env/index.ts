/**
 * Boots a whole system for one test file: a real nats-server, a real Postgres, and services in this process or as
 * processes of their own, in a temporary directory and on ports that the kernel chose.
 */
import { chmodSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { NatsConnection } from 'nats';
import { connectNats, type NatsUser } from '../../nats/connect.ts';
import { provisionBroker } from '../../nats/provisioning/broker.ts';
import type { Exit } from '../../services/local/child.ts';
import { startNats } from '../../services/local/nats.ts';
import { startPostgres } from '../../services/local/postgres.ts';
import { openSecrets, type Secrets } from '../../services/local/secrets.ts';
import { type ServiceProcess, startServiceProcess } from '../../services/local/service-process.ts';
import { guardTemporaryDir } from '../../services/local/watchdog.ts';
import { type Running, runServices } from '../../services/main.ts';
import { type Config, readConfig } from '../../shared/config/index.ts';
import { type Database, openDatabase } from '../../shared/db/database.ts';
import { migrate } from '../../shared/db/migrate.ts';
import { grantRoles, roleOf, rolePassword } from '../../shared/db/roles.ts';
import { freePort } from '../../shared/ports.ts';
import type { ServiceName } from '../../shared/service-names.ts';
import { TestEngine } from './engine.ts';
import { settle } from './settle.ts';
import { placeCluster } from './template.ts';
import { PATIENCE_MS } from './until.ts';

const DEFAULTS: Partial<Config> = {
  DURABILITY: 'fast',
  PORT: 0,
  EDGE_PORT: 0,
  OPS_PORT: 0,
  LOG_LEVEL: 'error',
  PARTITIONS: 2,
  INBOX_SHARDS: 2,
  AUTH_RATE_LIMIT_MAX_REQUESTS: 100_000,
  WS_RATE_LIMIT_MAX_COMMANDS: 100_000,
  CODE_MAX_SENT_PER_IP: 100_000,
  // Tests send many queries at once, which wait for a connection. A Postgres that is down refuses at once.
  DATABASE_CONNECT_TIMEOUT_MS: 60_000,
  INGEST_LOOKUP_TIMEOUT_MS: 10_000,
};

export interface Addresses {
  /** Without path, e.g. `http://127.0.0.1:41234`. */
  apiUrl: string;
  /** Without path, e.g. `ws://127.0.0.1:41235`; the socket is at `/v1/ws`. */
  edgeUrl: string;
}

export interface Started extends Addresses {
  /** The operator's port, e.g. `http://127.0.0.1:41236`. */
  opsUrl: string;
}

export interface Spawned {
  readonly pid: number;
  readonly apiUrl: string;
  readonly edgeUrl: string;
  readonly opsUrl: string;
  /** SIGKILL; resolves when it is gone. */
  kill9(): Promise<void>;
  /** Starts it again on the same addresses. */
  restart(): Promise<void>;
  signal(signal: NodeJS.Signals): void;
  stop(): Promise<Exit>;
}

export type Env = Awaited<ReturnType<typeof startEnv>>;

export interface EnvOptions {
  /** An empty directory for everything, e.g. on a disk that will fail; the caller removes it. */
  dir?: string;
  /** Running brokers to use instead of starting one. */
  cluster?: { url: string; secret: string };
  /** Directory in which the broker keeps its streams, e.g. a disk that will fail; the caller removes it. */
  natsDir?: string;
  /** Directory for the logs of spawned services, which otherwise go to this process's output. */
  logDir?: string;
}

/** Boots the engines, provisions and migrates. Services come by `start` or `spawn`. Call `stop` in `test.after.always`. */
export async function startEnv(
  overrides: Partial<Config> = {},
  { dir: given, cluster, natsDir, logDir }: EnvOptions = {},
) {
  const dir = given ?? mkdtempSync(join(tmpdir(), 'sealwire-test-'));
  // The user of Postgres must be able to traverse the directory.
  chmodSync(dir, 0o711);
  if (!given) guardTemporaryDir(dir);
  const base: Config = { ...readConfig({}), ...DEFAULTS, ...overrides, DATA_DIR: dir };
  const copied = !given && base.DURABILITY === 'fast';
  if (copied) await placeCluster(dir);
  const secrets: Secrets = openSecrets(dir, base.DURABILITY);
  const broker = new TestEngine(async (port) => {
    // Not chosen by the kernel at bind: while the broker is down, a client's own connection might get that port.
    const at = port || (await freePort());
    const engine = await startNats({ config: base, dir: natsDir ?? join(dir, 'nats'), secrets, port: at });
    // As the supervisor does: streams in memory are lost with the broker.
    await provisionBroker({ ...base, NATS_URL: engine.url, NATS_SECRET: secrets.nats }).catch(async (error) => {
      await engine.close();
      throw error;
    });
    return engine;
  });
  const postgres = new TestEngine((port) => startPostgres({ config: base, dir: join(dir, 'postgres'), secrets, port }));
  const brokers = cluster
    ? provisionBroker({ ...base, NATS_URL: cluster.url, NATS_SECRET: cluster.secret })
    : broker.start();
  const booted = await Promise.allSettled([brokers, postgres.start()]);
  const remove = (): void => {
    if (given) return;
    guardTemporaryDir(undefined);
    rmSync(dir, { recursive: true, force: true, maxRetries: 5 });
  };
  const abandon = async (error: unknown): Promise<never> => {
    await Promise.all([broker.stop(), postgres.stop()]);
    remove();
    throw error;
  };
  for (const one of booted) if (one.status === 'rejected') await abandon(one.reason);
  const config: Config = Object.freeze({
    ...base,
    NATS_URL: cluster?.url ?? broker.url,
    NATS_SECRET: cluster?.secret ?? secrets.nats,
    DATABASE_URL: postgres.url,
    PERSONAL_KEYS: [secrets.personal],
    PERSONAL_INDEX_KEYS: [secrets.personal_index],
  });
  if (!copied) await migrate(config).catch(abandon);
  if (process.env.TEST_ROLES) await grantRoles(config).catch(abandon);

  const db: Database = await openDatabase(config);
  const connections: NatsConnection[] = [];
  const running: { services: ServiceName[]; handle: Running }[] = [];
  const spawned: Spawned[] = [];
  const started = new Set<string>();
  const nats = async (user: NatsUser): Promise<NatsConnection> => {
    const nc = await connectNats(config, user);
    connections.push(nc);
    return nc;
  };

  return {
    config,
    dir,
    db,
    broker,
    postgres,
    /** A connection as that NATS user, closed by `stop`. */
    nats,
    /** Runs services in this process, all in one context, and returns where they listen. */
    async start(...services: ServiceName[]): Promise<Started> {
      for (const name of services) started.add(name);
      // With TEST_ROLES=1 each service runs alone in its own database role; a missing grant is logged as permission denied.
      const groups = process.env.TEST_ROLES ? services.map((one) => [one]) : [services];
      const addresses: Record<string, string> = {};
      for (const group of groups) {
        const handle = await runServices(group, process.env.TEST_ROLES ? inRole(config, group[0]!) : config);
        running.push({ services: group, handle });
        Object.assign(addresses, handle.addresses);
      }
      return addressesOf(addresses);
    },
    /** Closes this service and those that were started together with it. */
    async close(service: ServiceName): Promise<void> {
      const at = running.findIndex((one) => one.services.includes(service));
      if (at < 0) throw new Error(`${service} was not started here`);
      const [one] = running.splice(at, 1);
      await one!.handle.close();
    },
    /** Runs services as one real process, which can be killed and started again. */
    async spawn(services: ServiceName | ServiceName[], more: Partial<Config> = {}): Promise<Spawned> {
      const env = { PATH: process.env.PATH, ...toEnv({ ...config, ...more }) };
      const names = [services].flat();
      for (const name of names) started.add(name);
      const options = { services: names, env, log: logDir ? join(logDir, `${names.join('+')}.log`) : 'inherit' };
      let now: ServiceProcess = await startServiceProcess(options);
      const one: Spawned = {
        get pid() {
          return now.pid;
        },
        ...addressesOf(now.addresses),
        async kill9() {
          now.signal('SIGKILL');
          await now.exited;
        },
        async restart() {
          await now.close();
          now = await startServiceProcess({ ...options, previous: now });
        },
        signal: (signal) => now.signal(signal),
        stop: () => now.close(),
      };
      spawned.push(one);
      return one;
    },
    /** Resolves once every consumer of the topology has handled what is there now, and what follows from it. */
    settle: (timeoutMs = PATIENCE_MS, ...more: ServiceName[]) =>
      settle(config, timeoutMs, new Set([...started, ...more])),
    /** Closes everything, engines last, and removes the directory. @throws when a process was left running */
    async stop(): Promise<void> {
      for (const one of spawned) await one.stop();
      for (const { handle } of running.reverse()) await handle.close();
      await Promise.all(connections.map((nc) => nc.close().catch(() => {})));
      await db.close();
      await Promise.all([broker.stop(), postgres.stop()]);
      remove();
      const left = [...(await broker.leftovers()), ...(await postgres.leftovers())];
      if (left.length) throw new Error(`left running: ${left.join(', ')}`);
    },
  };
}

function addressesOf(addresses: Record<string, string>): Started {
  const origin = (name: string): string =>
    addresses[name] ? `${new URL(addresses[name]).protocol}//${new URL(addresses[name]).host}` : '';
  return { apiUrl: origin('api'), edgeUrl: origin('edge'), opsUrl: origin('ops') };
}

/** @returns the configuration of a service that runs in its own database role */
export function inRole(config: Config, service: ServiceName): Config {
  const url = new URL(config.DATABASE_URL!);
  url.username = roleOf(service);
  url.password = rolePassword(config.NATS_SECRET!, service);
  return { ...config, DATABASE_URL: url.href };
}

/** @returns the configuration as environment variables */
export function toEnv(config: Partial<Config>): Record<string, string> {
  return Object.fromEntries(
    Object.entries(config).flatMap(([name, value]) => (value === undefined ? [] : [[name, String(value)]])),
  );
}
