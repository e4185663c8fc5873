/**
 * Restores the inbox shards from the log after the broker was restarted or lost a stream: partitions go back to their newest
 * valid checkpoints, and the shards are marked as complete, which the edges read, when everything is written again.
 */
import type { NatsConnection } from 'nats';
import type { Logger } from 'pino';
import { resetDurable } from '../../nats/durable.ts';
import { jetstreamManager } from '../../nats/jetstream-manager.ts';
import { readLogHead } from '../../nats/log-reader.ts';
import { consumer, LOG } from '../../nats/topology.ts';
import type { Config } from '../../shared/config/index.ts';
import { isCheckpointValid, readCheckpoint, writeCheckpoint } from './checkpoints.ts';
import { InboxShards } from './inbox-shards.ts';
import { findPartitionStart, type PartitionStart } from './partition-start.ts';

export class InboxRecovery {
  readonly #nc: NatsConnection;
  readonly #log: Logger;
  readonly #partitions: number[];
  readonly #shards: InboxShards;
  /** The broker process for which all idle partitions were sent back. */
  #rewoundFor = '';
  /** The broker process, and how many generations had begun, when the shards were marked as complete. */
  #completeFor = '';
  /** The last entry of each partition when the broker process was first seen. */
  #heads: { server: string; entries: number[] } | undefined;
  /** By partition: the broker process under which this process took it over; the worker found its start itself. */
  readonly #takenUnder = new Map<number, string>();
  /** By partition: creation time of the LOG in which its start was last found. */
  readonly #logs = new Map<number, string>();

  constructor(nc: NatsConnection, config: Config, log: Logger) {
    this.#nc = nc;
    this.#log = log;
    this.#partitions = Array.from({ length: config.PARTITIONS }, (_, partition) => partition);
    this.#shards = new InboxShards(nc, config, log);
  }

  /** Names the broker process. */
  get server(): string {
    return this.#shards.server;
  }

  /** Returns the cursor base of each shard, for the broker that is connected now. */
  cursorBases(): Promise<number[]> {
    return this.#shards.cursorBases();
  }

  /** Returns true when a shard was made again since the last call: every partition must be taken over again then. */
  async detectReplacedStreams(): Promise<boolean> {
    if (!(await this.#shards.detectReplacedStreams())) return false;
    this.#heads = undefined;
    this.#rewoundFor = '';
    return true;
  }

  /**
   * For each broker process: makes sure of the shards, sends partitions without new entries back to what all shards have (the
   * redelivered entries make their workers take them over), and marks the shards as complete at the end.
   * @returns false until then: call it once more
   */
  async repairInboxes(): Promise<boolean> {
    const { server } = this;
    await this.cursorBases();
    if (this.#heads?.server !== server) {
      const heads = await Promise.all(this.#partitions.map((partition) => readLogHead(this.#nc, partition)));
      this.#heads = { server, entries: heads.map(({ head }) => head) };
    }
    if (server !== this.#rewoundFor) {
      for (const partition of this.#partitions) await this.#rewindIdlePartition(partition, server);
      this.#rewoundFor = server;
    }
    const completeFor = `${server} ${this.#shards.generationsBegun}`;
    if (this.#completeFor !== completeFor && (await this.#isEverythingWritten(server))) {
      await this.#shards.markComplete();
      this.#completeFor = completeFor;
    }
    return this.#completeFor === completeFor;
  }

  /** Sends a partition back to what all shards have, unless a worker of this process did so when it took it over. */
  async #rewindIdlePartition(partition: number, server: string): Promise<void> {
    // A worker of this process may not have written a checkpoint yet.
    const isMine = (): boolean => this.#takenUnder.get(partition) === server;
    if (isMine()) return;
    const { from, cursors, isUncertain } = await this.#findStart(partition);
    if (!isUncertain || isMine()) return;
    if (from === undefined) await this.writeCheckpoint(partition, this.#heads!.entries[partition]!, cursors, server);
    else await resetDurable(this.#nc, { stream: LOG, consumer: { durable_name: consumer.fanout(partition) } }, from);
  }

  /** Returns true when every shard has everything that the log held when this broker process was first seen. */
  async #isEverythingWritten(server: string): Promise<boolean> {
    const [manager, maps] = [await jetstreamManager(this.#nc), await this.#shards.cursorMaps()];
    for (const partition of this.#partitions) {
      const head = this.#heads!.entries[partition]!;
      if (head === 0) continue;
      const checkpoint = await readCheckpoint(this.#nc, partition);
      if (checkpoint?.server !== server || !isCheckpointValid(checkpoint, maps)) return false;
      if (checkpoint.entry >= head) continue;
      // The last entries were dead letters, which no checkpoint names.
      const { ack_floor } = await manager.consumers.info(LOG, consumer.fanout(partition));
      if (ack_floor.stream_seq < head) return false;
    }
    return true;
  }

  /** Records that every shard has `partition` up to `entry`, at or before its cursor. */
  async writeCheckpoint(
    partition: number,
    entry: number,
    cursors: readonly number[],
    server = this.server,
  ): Promise<void> {
    const isCurrent = (): boolean => this.server === server;
    const log = this.#logs.get(partition) ?? (await readLogHead(this.#nc, partition)).created;
    const maps = await this.#shards.cursorMaps();
    await writeCheckpoint(this.#nc, partition, { entry, cursors, server, log }, maps, isCurrent);
  }

  /** Takes a partition over for this process. @returns where its worker continues */
  async startPartition(partition: number): Promise<PartitionStart> {
    this.#shards.forgetCursorMaps();
    this.#takenUnder.set(partition, this.server);
    const start = await this.#findStart(partition);
    const { from, head, cursors } = start;
    // Nothing is to be written, so no batch would be followed by a checkpoint.
    if (head > 0 && (from === undefined || from > head)) await this.writeCheckpoint(partition, head, cursors);
    return start;
  }

  async #findStart(partition: number): Promise<PartitionStart> {
    const maps = await this.#shards.cursorMaps();
    const start = await findPartitionStart(this.#nc, partition, () => this.server, maps, this.#log);
    this.#logs.set(partition, start.log);
    return start;
  }
}
