/**
 * Writes one partition of LOG into the inbox shards: one batch for each shard with everything that waited, acknowledged as a
 * whole. Then the senders hear `sent`. Items written twice after a fault are dropped by devices, which know messages by id.
 */
import type { NatsConnection } from 'nats';
import type { ConfirmPin } from '../../nats/batch-runner.ts';
import { RestoreRequired, type StreamMessage } from '../../nats/partition-consumer.ts';
import { PublishError, type Publisher } from '../../nats/publisher.ts';
import { subject } from '../../nats/topology.ts';
import type { Config } from '../../shared/config/index.ts';
import type { Metrics } from '../../shared/metrics.ts';
import type { Reply } from '../../shared/pipeline/commands.ts';
import type { LogRecord } from '../../shared/pipeline/entry.ts';
import type { CheckpointWriter } from './checkpoint-writer.ts';
import { progressHeader } from './checkpoints.ts';
import { InboxItemBuilder } from './inbox-items.ts';
import type { InboxRecovery } from './inbox-recovery.ts';
import type { Recipients } from './items-of-record.ts';
import type { Members } from './members.ts';
import type { Quota } from './quota.ts';
import type { RemovedDevices } from './removed-devices.ts';

export interface FanoutWorkerOptions {
  nc: NatsConnection;
  publisher: Publisher;
  recovery: InboxRecovery;
  checkpoints: CheckpointWriter;
  removed: RemovedDevices;
  quota: Quota;
  config: Config;
  metrics: Metrics;
}

export class FanoutWorker {
  readonly #partition: number;
  readonly #o: FanoutWorkerOptions;
  readonly #members: Members;
  readonly #recipients: Recipients;
  /** By shard: the last entry that it had when the partition was taken over. */
  #writtenUpTo: number[] = [];
  /** By shard: the cursor of the partition's last item. */
  #cursors: number[] = [];
  #takeOvers = 0;

  /** `members`: of this partition alone. */
  constructor(partition: number, members: Members, options: FanoutWorkerOptions) {
    this.#partition = partition;
    this.#o = options;
    this.#members = members;
    this.#recipients = {
      membersOf: (conversation) => members.membersOf(conversation),
      partnersOf: (user) => members.partnersOf(user),
      isRemoved: (device) => options.removed.has(device),
    };
  }

  /** This process became the only one to write the partition. @returns the entry to begin at; undefined: the ack floor */
  async restore(): Promise<number | undefined> {
    this.#o.checkpoints.beginPartition(this.#partition);
    this.#members.clear();
    const turn = ++this.#takeOvers;
    const start = await this.#o.recovery.startPartition(this.#partition);
    // A take-over that was overtaken by the next one, when the broker went meanwhile, found what the broker before had.
    if (turn === this.#takeOvers) {
      this.#writtenUpTo = start.writtenUpTo;
      this.#cursors = start.cursors;
    }
    return start.from;
  }

  async handle(batch: StreamMessage<LogRecord[]>[], confirmPin: ConfirmPin): Promise<void> {
    const { recovery, checkpoints, removed, quota, config, metrics } = this.#o;
    const { server } = recovery;
    const cursorBases = await recovery.cursorBases();
    const records = batch.flatMap(({ value }) => value);
    await this.#members.load(records);
    const items = new InboxItemBuilder(config, cursorBases, this.#recipients);
    for (const { seq, value } of batch) {
      items.beginEntry(seq, this.#writtenUpTo);
      for (const record of value) items.add(record);
    }
    const { seq: entry } = batch.at(-1)!;
    for (const shard of items.shards) if (shard.length) shard.at(-1)!.headers = progressHeader(this.#partition, entry);
    await confirmPin();
    await this.#write(items, cursorBases);
    await removed.removeInboxes(records);
    checkpoints.add(this.#partition, { entry, cursors: this.#cursors, server });
    quota.count(items.counts);
    this.#publishSent(batch);
    metrics.records.inc({ stage: 'fanout', outcome: 'ok' }, records.length);
    metrics.batch.observe({ stage: 'fanout' }, records.length);
  }

  /** @throws {RestoreRequired} when the broker may have lost a shard: the partition goes back to its checkpoint */
  async #write({ shards }: InboxItemBuilder, cursorBases: readonly number[]): Promise<void> {
    try {
      const seqs = await Promise.all(shards.map((shard) => this.#o.publisher.publishAll(shard)));
      this.#cursors = this.#cursors.map((cursor, shard) => (seqs[shard] ? cursorBases[shard]! + seqs[shard] : cursor));
    } catch (error) {
      if (error instanceof PublishError) throw new RestoreRequired(`inbox: ${error.message}`);
      throw error;
    }
  }

  /** Publishes one message to each gateway with the commands whose messages every inbox has now. */
  #publishSent(batch: StreamMessage<LogRecord[]>[]): void {
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
      this.#o.nc.publish(subject.reply(gateway), JSON.stringify({ sent: tags } satisfies Reply));
  }
}
