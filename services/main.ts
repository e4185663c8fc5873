/** Runs services in this process: `node services/main.ts ingest fanout`, or `all`. */
import type { NatsConnection } from 'nats';
import { connectNats } from '../nats/connect.ts';
import { sleep } from '../shared/async/sleep.ts';
import { type Config, checkSettingsOf, readConfig } from '../shared/config/index.ts';
import { openDatabase } from '../shared/db/database.ts';
import { requireSchema } from '../shared/db/migrate.ts';
import { createLog } from '../shared/log.ts';
import { createMetrics } from '../shared/metrics.ts';
import { startOps } from '../shared/ops.ts';
import type { Context, Service, ServiceDefinition } from '../shared/service.ts';
import { SERVICE_NAMES, type ServiceName } from '../shared/service-names.ts';
import { watchPublishRefusals } from './publish-refusals.ts';

/** Loads only those services that run in this process. */
const LOADERS: Record<ServiceName, () => Promise<{ default: ServiceDefinition }>> = {
  edge: () => import('./edge/index.ts'),
  api: () => import('./api/index.ts'),
  ingest: () => import('./ingest/index.ts'),
  fanout: () => import('./fanout/index.ts'),
  history: () => import('./history/index.ts'),
  events: () => import('./events/index.ts'),
  webhook: () => import('./webhook/index.ts'),
  'payments-webhook': () => import('./payments-webhook/index.ts'),
  push: () => import('./push/index.ts'),
};
/** A process that has not closed its services after this long ends all the same. */
const CLOSE_TIMEOUT_MS = 10_000;
const READY_POLL_MS = 10;

export interface Running {
  /** `ops`, and those that the services listen on, e.g. `{ api: 'http://127.0.0.1:8080' }`. */
  addresses: Record<string, string>;
  close(): Promise<void>;
}

interface RunOptions {
  readyTimeoutMs?: number;
  /** Called when the broker begins to refuse what the services publish (ms since 1970), and when it no longer does. */
  onRefusal?(since: number | undefined): void;
}

/** Opens the services and resolves once all of them are ready. @throws the error of the first one that failed. */
export async function runServices(
  names: readonly ServiceName[],
  config: Config,
  { readyTimeoutMs = 60_000, onRefusal = () => {} }: RunOptions = {},
): Promise<Running> {
  checkSettingsOf(names, config);
  const log = createLog(config);
  const metrics = createMetrics();
  const db = await openDatabase(config, log);
  const connections: NatsConnection[] = [];
  const services = new Map<ServiceName, Service>();
  const addresses: Record<string, string> = {};
  let ops: Awaited<ReturnType<typeof startOps>> | undefined;
  const context: Context = {
    config,
    log,
    metrics,
    db,
    services,
    async connect(service) {
      const nc = await connectNats(config, service);
      connections.push(nc);
      return nc;
    },
  };
  const refusals = watchPublishRefusals(context, { onChange: onRefusal });
  const close = async (): Promise<void> => {
    await refusals.close();
    for (const [name, service] of [...services].reverse()) {
      await service.close().catch((error: unknown) => log.error({ unit: 'close', service: name, err: error }));
    }
    await ops?.close();
    await Promise.all(connections.map((nc) => nc.close().catch(() => {})));
    await db.close().catch(() => {});
  };
  try {
    await requireSchema(db);
    for (const name of SERVICE_NAMES.toReversed().filter((one) => names.includes(one))) {
      const { default: definition } = await LOADERS[name]();
      const service = await definition.open(context);
      services.set(name, service);
      Object.assign(addresses, service.addresses);
    }
    ops = await startOps(context);
    addresses.ops = ops.url;
    await waitUntilReady(services, readyTimeoutMs);
  } catch (error) {
    await close();
    throw error;
  }
  log.info({ unit: 'start', services: names, ...addresses });
  return { addresses, close };
}

/** @throws an error with the reason of the first service that is not ready in time. */
async function waitUntilReady(services: Map<ServiceName, Service>, timeoutMs: number): Promise<void> {
  const deadline = Date.now() + timeoutMs;
  for (const [name, service] of services) {
    for (let state = service.ready(); state !== true; state = service.ready()) {
      if (Date.now() > deadline) throw new Error(`${name} did not become ready: ${state}`);
      await sleep(READY_POLL_MS);
    }
  }
}

/** @throws when a word is not the name of a service. */
export function parseServiceNames(words: readonly string[]): readonly ServiceName[] {
  if (words.includes('all')) return SERVICE_NAMES;
  const wrong = words.filter((word) => !SERVICE_NAMES.includes(word as ServiceName));
  if (wrong.length)
    throw new Error(`${wrong.join(', ')}: no such service. The services are ${SERVICE_NAMES.join(', ')}, and all.`);
  return words as ServiceName[];
}

/** Runs until SIGTERM, SIGINT or the end of the parent. Reports the addresses to the parent, or prints them without one. */
export async function serveUntilSignal(names: readonly ServiceName[]): Promise<void> {
  let running: Running | undefined;
  let closing = false;
  const close = (): void => {
    if (closing) return;
    closing = true;
    setTimeout(() => process.exit(1), CLOSE_TIMEOUT_MS).unref();
    void (running?.close() ?? Promise.resolve()).finally(() => process.exit(0));
  };
  for (const signal of ['SIGTERM', 'SIGINT'] as const) process.on(signal, close);
  process.on('disconnect', close);
  running = await runServices(names, readConfig(), {
    onRefusal: (since) => void process.send?.({ refused: since ?? null }),
  });
  if (closing) return void running.close().finally(() => process.exit(0));
  if (process.send) process.send({ ready: running.addresses });
  else for (const [name, address] of Object.entries(running.addresses)) process.stdout.write(`${name} ${address}\n`);
}

if (import.meta.main) {
  try {
    const names = parseServiceNames(process.argv.slice(2));
    if (names.length === 0) throw new Error(`Usage: node services/main.ts <${SERVICE_NAMES.join('|')}|all …>`);
    await serveUntilSignal(names);
  } catch (error) {
    process.stderr.write(`${(error as Error).message}\n`);
    process.exit(1);
  }
}
