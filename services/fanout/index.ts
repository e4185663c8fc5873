/**
 * fanout: LOG → inbox shards. One item a recipient holding the finished frame; everything that waited in a partition is
 * one batch per shard, acknowledged as a whole. Then the senders hear `sent`. What is written twice after a fault is
 * dropped by devices, which know messages by their id.
 */

import { Backoff } from '../../nats/backoff.ts';
import { earliest } from '../../nats/consumer-monitor.ts';
import { createLogConsumers } from '../../nats/log-consumers.ts';
import { RestoreRequired, type StreamMessage } from '../../nats/partition-consumer.ts';
import { PublishError, Publisher } from '../../nats/publisher.ts';
import { subject } from '../../nats/topology.ts';
import { sleep } from '../../shared/async/sleep.ts';
import type { Reply } from '../../shared/pipeline/commands.ts';
import type { LogRecord } from '../../shared/pipeline/entry.ts';
import type { Context, Service, ServiceDefinition } from '../../shared/service.ts';
import { progressHeader } from './checkpoints.ts';
import { InboxItemBuilder } from './inbox-items.ts';
import { InboxRecovery } from './inbox-recovery.ts';
import { Members } from './members.ts';
import { Quota } from './quota.ts';
import { RemovedDevices } from './removed-devices.ts';

const MARK_MS = 1_000;
/** How often is looked while what the broker may have lost is being written again. */
const REPAIR_MS = 200;

async function open(context: Context): Promise<Service> {
  const { config, log, metrics, db } = context;
  const nc = await context.connect('fanout');
  const writes = new Publisher(nc);
  const lives = new InboxRecovery(nc, config, log);
  const removed = new RemovedDevices(nc, config);
  const quota = new Quota(nc, config, db.query, log);
  await quota.open();
  // Edges wait for the lineage of the broker that is connected now, also when there is nothing to write yet.
  await lives.cursorBases();
  await lives.detectReplacedStreams();

  /** By partition, since its last mark: the last entry that was written, where each shard has it, and the broker that took it. */
  const unmarked = new Map<number, { entry: number; cursors: readonly number[]; server: string }>();
  /** Partitions taken over and not marked since: the first mark does not wait, lest another process goes back in vain. */
  const unknown = new Set<number>();
  const mark = async (): Promise<void> => {
    const marked = [...unmarked];
    unmarked.clear();
    for (const [partition, { entry, cursors, server }] of marked)
      if (server === lives.server)
        await lives
          .writeCheckpoint(partition, entry, cursors, server)
          .catch((error: unknown) => log.warn({ stage: 'fanout', partition, reason: String(error) }, 'not marked'));
  };
  const repairs = new Backoff(REPAIR_MS, MARK_MS);
  let whole = false;
  let ticking: NodeJS.Timeout;
  let tick: Promise<void> = Promise.resolve();
  const next = (): void => {
    // Edges wait for the end of a repair; otherwise it is enough to look as often as marks are made.
    const begin = (): void => {
      tick = round().finally(next);
    };
    ticking = setTimeout(begin, whole ? MARK_MS : REPAIR_MS).unref();
  };
  const round = async (): Promise<void> => {
    if (nc.isClosed()) return;
    await mark();
    try {
      if (await lives.detectReplacedStreams()) for (const writer of writers) writer.requestRestore();
      whole = await lives.repairInboxes();
      repairs.reset();
    } catch (error) {
      const { waitMs, shouldLog } = repairs.recordFailure();
      if (shouldLog)
        log.warn({ stage: 'fanout', tries: repairs.failures, reason: String(error) }, 'looking again soon');
      await sleep(waitMs);
    }
  };
  next();

  const writers = createLogConsumers(nc, context, 'fanout', (partition) => {
    const members = new Members(db.query, config.FANOUT_MAX_GROUPS);
    let reached: number[] = [];
    let cursors: number[] = [];
    let turn = 0;
    return {
      window: config.FANOUT_WINDOW,
      async restore() {
        unmarked.delete(partition);
        unknown.add(partition);
        members.clear();
        const mine = ++turn;
        const start = await lives.startPartition(partition);
        // One that was overtaken (the broker went while it looked) knows what the broker before had.
        if (mine === turn) ({ reached, cursors } = start);
        return start.from;
      },
      async handle(batch, fence) {
        const { server } = lives;
        const bases = await lives.cursorBases();
        const records = batch.flatMap(({ value }) => value);
        await members.load(records);
        const items = new InboxItemBuilder(config, bases, {
          membersOf: (conversation) => members.membersOf(conversation),
          partnersOf: (user) => members.partnersOf(user),
          isGone: (device) => removed.has(device),
        });
        for (const { seq, value } of batch) {
          items.begin(seq, reached);
          for (const record of value) items.add(record);
        }
        const { seq: entry } = batch.at(-1)!;
        for (const shard of items.shards) if (shard.length) shard.at(-1)!.headers = progressHeader(partition, entry);
        await fence();
        try {
          const seqs = await Promise.all(items.shards.map((shard) => writes.publishAll(shard)));
          cursors = cursors.map((cursor, shard) => (seqs[shard] ? bases[shard]! + seqs[shard] : cursor));
        } catch (error) {
          // The broker may have lost a shard: look, and go back to where the marks stand.
          if (error instanceof PublishError) throw new RestoreRequired(`inbox: ${error.message}`);
          throw error;
        }
        await removed.purge(records);
        unmarked.set(partition, { entry, cursors, server });
        if (unknown.delete(partition)) void mark();
        quota.count(items.counts);
        tell(batch);
        metrics.records.inc({ stage: 'fanout', outcome: 'ok' }, records.length);
        metrics.batch.observe({ stage: 'fanout' }, records.length);
      },
    };
  });

  /** One message to each gateway with the commands whose messages now stand in every inbox. */
  function tell(batch: StreamMessage<LogRecord[]>[]): void {
    const sent = new Map<string, number[]>();
    for (const { value } of batch) {
      for (const { meta } of value) {
        if (meta.gateway === undefined) continue;
        const tags = sent.get(meta.gateway);
        if (tags) tags.push(meta.tag!);
        else sent.set(meta.gateway, [meta.tag!]);
      }
    }
    for (const [gateway, tags] of sent)
      nc.publish(subject.reply(gateway), JSON.stringify({ sent: tags } satisfies Reply));
  }

  return {
    ready: () => writers.map((writer) => writer.ready()).find((state) => state !== true) ?? true,
    brokerRefusesSince: () => earliest(writes.refusesSince, ...writers.map((writer) => writer.refusesSince)),
    close: async () => {
      await Promise.all(writers.map((writer) => writer.close()));
      clearTimeout(ticking);
      await tick;
      clearTimeout(ticking);
      await mark();
      quota.close();
      writes.close();
      await nc.drain();
    },
  };
}

const definition: ServiceDefinition = { open };
export default definition;
