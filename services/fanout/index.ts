/**
 * fanout: LOG → inbox shards. Opens and closes one worker per partition (partition-worker.ts) and the task that writes
 * checkpoints and repairs the shards after the broker lost something (inbox-recovery.ts).
 */
import { Backoff } from '../../nats/backoff.ts';
import { earliest } from '../../nats/consumer-monitor.ts';
import { createLogConsumers } from '../../nats/log-consumers.ts';
import { Publisher } from '../../nats/publisher.ts';
import { type PeriodicTask, startPeriodicTask } from '../../shared/async/periodic-task.ts';
import type { Context, Service, ServiceDefinition } from '../../shared/service.ts';
import { CheckpointWriter } from './checkpoint-writer.ts';
import { InboxRecovery } from './inbox-recovery.ts';
import { Members } from './members.ts';
import { FanoutWorker } from './partition-worker.ts';
import { Quota } from './quota.ts';
import { RemovedDevices } from './removed-devices.ts';

/** Interval at which checkpoints are written. */
const CHECKPOINT_MS = 1_000;
/** The edges wait for the end of a repair, so the task runs this often while one is under way. */
const REPAIR_MS = 200;

async function open(context: Context): Promise<Service> {
  const { config, log, metrics, db } = context;
  const nc = await context.connect('fanout');
  const publisher = new Publisher(nc);
  const recovery = new InboxRecovery(nc, config, log);
  const checkpoints = new CheckpointWriter(recovery, log);
  const removed = new RemovedDevices(nc, config);
  const quota = new Quota(nc, config, db.query, log);
  await quota.open();
  // The edges wait for the cursor maps of the broker that is connected now, also when there is nothing to write yet.
  await recovery.cursorBases();
  await recovery.detectReplacedStreams();

  const options = { nc, publisher, recovery, checkpoints, removed, quota, config, metrics };
  const consumers = createLogConsumers(nc, context, 'fanout', (partition) => {
    const worker = new FanoutWorker(partition, new Members(db.query, config.FANOUT_MAX_GROUPS), options);
    return {
      window: config.FANOUT_WINDOW,
      restore: () => worker.restore(),
      handle: (batch, confirmPin) => worker.handle(batch, confirmPin),
    };
  });
  const task = startMaintenance(context, nc, recovery, checkpoints, () => {
    for (const consumer of consumers) consumer.requestRestore();
  });

  return {
    ready: () => consumers.map((consumer) => consumer.ready()).find((state) => state !== true) ?? true,
    brokerRefusesSince: () => earliest(publisher.refusesSince, ...consumers.map((consumer) => consumer.refusesSince)),
    close: async () => {
      await Promise.all(consumers.map((consumer) => consumer.close()));
      await task.close();
      await checkpoints.flush();
      await quota.close();
      publisher.close();
      await nc.drain();
    },
  };
}

/** Writes checkpoints, has all partitions taken over again when a stream was replaced, and repairs the shards. */
function startMaintenance(
  { log }: Context,
  nc: Awaited<ReturnType<Context['connect']>>,
  recovery: InboxRecovery,
  checkpoints: CheckpointWriter,
  takeOverAgain: () => void,
): PeriodicTask {
  const failures = new Backoff(REPAIR_MS, CHECKPOINT_MS);
  let dueAt = 0;
  const run = async (): Promise<void> => {
    // Monotonic: a clock that is set back must not stop the checkpoints.
    const startedAt = performance.now();
    if (startedAt < dueAt || nc.isClosed()) return;
    await checkpoints.flush();
    if (await recovery.detectReplacedStreams()) takeOverAgain();
    const isComplete = await recovery.repairInboxes();
    failures.reset();
    // With half a tick of tolerance, so that a timer that fires early does not cost a whole one.
    dueAt = isComplete ? startedAt + CHECKPOINT_MS - REPAIR_MS / 2 : 0;
  };
  return startPeriodicTask(run, {
    everyMs: REPAIR_MS,
    onError: (error) => {
      const { waitMs, shouldLog } = failures.recordFailure();
      dueAt = performance.now() + waitMs;
      if (shouldLog)
        log.warn(
          { stage: 'fanout', tries: failures.failures, reason: String(error) },
          'the inbox shards could not be checked; trying again soon',
        );
    },
  });
}

const definition: ServiceDefinition = { open };
export default definition;
