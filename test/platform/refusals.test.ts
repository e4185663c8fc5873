/** `npm start` restarts its broker when it answers but keeps refusing what services publish. */
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'ava';
import { BrokerMonitor, type BrokerMonitorOptions } from '../../services/local/broker-monitor.ts';
import { startLocalSystem } from '../../services/local/local-system.ts';
import { watchPublishRefusals } from '../../services/publish-refusals.ts';
import { readConfig } from '../../shared/config/index.ts';
import { createLog } from '../../shared/log.ts';
import { createMetrics } from '../../shared/metrics.ts';
import type { Service } from '../../shared/service.ts';
import type { ServiceName } from '../../shared/service-names.ts';
import { readyStatus } from '../env/start.ts';
import { until } from '../env/until.ts';

const root = mkdtempSync(join(tmpdir(), 'sealwire-refusals-'));
chmodSync(root, 0o711);
test.after.always(() => rmSync(root, { recursive: true, force: true, maxRetries: 5 }));

test('[O01] npm start restarts a broker that refuses publishes, says so and continues', async (t) => {
  const said: string[] = [];
  const file = join(root, 'refused');
  const tree = await startLocalSystem({
    env: {
      DATA_DIR: join(root, 'data'),
      PORT: '0',
      EDGE_PORT: '0',
      DURABILITY: 'fast',
      LOG_LEVEL: 'error',
      BROKER_REFUSES_MS: '200',
      BROKER_RESTART_APART_MS: '0',
      REFUSED_FILE: file,
      NODE_OPTIONS: `--import=${new URL('fakes/refused-ingest.ts', import.meta.url)}`,
    },
    onProgress: (line) => said.push(line),
    log: join(root, 'services.log'),
  });
  try {
    const { nats } = tree.pids();
    writeFileSync(file, '');
    await until(() => said.some((line) => line.includes('restarting it')));
    rmSync(file);
    await until(() => said.some((line) => /^nats is back/.test(line)));
    t.not(tree.pids().nats, nats);
    await until(async () => (await readyStatus(tree.addresses.api!)) === 200);
    const restarts = said.filter((line) => line.includes('restarting it')).length;
    t.is(said.filter((line) => /^nats is back/.test(line)).length, restarts);
    t.false(
      said.some((line) => line.includes('ended')),
      'a restart that was asked for is not a failure',
    );
  } finally {
    await tree.close();
  }
});

/** Starts a monitor that checks every 5 ms, and records its lines and restarts. */
function watched(options: Partial<BrokerMonitorOptions>) {
  const said: string[] = [];
  const seen = { said, restarts: 0, looks: 0, care: undefined as unknown as BrokerMonitor };
  seen.care = new BrokerMonitor({
    restartAfterMs: 50,
    minIntervalMs: 0,
    everyMs: 5,
    freeBytes: () => {
      seen.looks++;
      return 1 << 30;
    },
    restart: async () => {
      seen.restarts++;
    },
    onProgress: (line) => said.push(line),
    ...options,
  });
  return seen;
}

test('[O01] the broker is not restarted too early, nor for a refusal that its process has withdrawn', async (t) => {
  const seen = watched({ minIntervalMs: 3_600_000 });
  seen.care.reportRefusal('edge', Date.now() - 1_000);
  await until(() => seen.restarts === 1);
  const short = watched({ restartAfterMs: 3_600_000 });
  short.care.reportRefusal('edge', Date.now() - 1_000);
  const over = watched({});
  over.care.reportRefusal('edge', Date.now() - 1_000);
  over.care.reportRefusal('edge', undefined);
  // Another monitor with the same interval shows that the others had as many occasions.
  const clock = watched({});
  clock.care.reportRefusal('edge', Date.now() - 1_000);
  await until(() => clock.restarts >= 3);
  t.deepEqual([seen.restarts, short.restarts, over.restarts], [1, 0, 0]);
  for (const one of [seen, short, over, clock]) one.care.close();
});

test('[O01] while the disk is full the broker is not restarted, and that is said once', async (t) => {
  let free = 1 << 20;
  let looks = 0;
  const seen = watched({
    minFreeBytes: 2 << 20,
    freeBytes: () => {
      looks++;
      return free;
    },
  });
  seen.care.reportRefusal('edge', Date.now() - 1_000);
  await until(() => looks >= 3);
  t.is(seen.restarts, 0);
  t.is(seen.said.length, 1);
  t.regex(seen.said[0]!, /disk is full \(1 MiB left\): make room/);
  free = 4 << 20;
  await until(() => seen.restarts === 1);
  seen.care.close();
  t.pass();
});

test('[O03] a process reports in its log, in a metric and to its parent since when it is refused', async (t) => {
  let since: number | undefined;
  const metrics = createMetrics();
  const service: Service = { ready: () => true, brokerRefusesSince: () => since, close: async () => {} };
  const quiet: Service = { ready: () => true, close: async () => {} };
  const changes: (number | undefined)[] = [];
  const services = new Map<ServiceName, Service>([
    ['ingest', service],
    ['fanout', quiet],
  ]);
  const log = createLog(readConfig({ LOG_LEVEL: 'silent' }));
  const watch = watchPublishRefusals({ services, log, metrics }, { everyMs: 2, onChange: (at) => changes.push(at) });
  const gauge = async (): Promise<number> =>
    Number(/^sealwire_broker_refuses_seconds (\S+)$/m.exec(await metrics.registry.metrics())![1]);
  t.is(await gauge(), 0);
  since = Date.now() - 5_000;
  const at = since;
  await until(() => changes.length === 1);
  t.true((await gauge()) >= 5);
  since = undefined;
  await until(() => changes.length === 2);
  t.is(await gauge(), 0);
  t.deepEqual(changes, [at, undefined]);
  await watch.close();
});
