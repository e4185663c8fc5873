/**
 * Finds where the worker of a partition goes on in the log. After a new life of a shard began
 * (shards.ts), the partitions go back to where the newest marks still count.
 */
import type { NatsConnection } from 'nats';
import type { Logger } from 'pino';
import { resetDurable } from '../../nats/durable.ts';
import { type CursorMap, cursorOf } from '../../nats/inbox/cursor-map.ts';
import { jetstreamManager } from '../../nats/jetstream-manager.ts';
import { readDirectBatch, readLogHead } from '../../nats/log-reader.ts';
import { consumer, LOG, subject } from '../../nats/topology.ts';
import type { Config } from '../../shared/config/index.ts';
import {
  isCheckpointValid,
  readCheckpoint,
  readCheckpoints,
  readShardProgress,
  writeCheckpoint,
} from './checkpoints.ts';
import { InboxShards } from './inbox-shards.ts';

/** Where a worker goes on with a partition. */
export interface PartitionStart {
  /** The log sequence to begin at; undefined: nothing is missing, the consumer's ack floor. */
  from: number | undefined;
  /** By shard: up to which entry it has the partition already; -1 where nobody knows. */
  reached: number[];
  /** By shard: where that is. */
  cursors: number[];
  /** The last entry of the partition. */
  head: number;
  /** A mark is missing, or is one for another broker process. */
  unsure: boolean;
}
/** A stream that is gone as a whole: how far back its items are written again; what is older is told as a gap. */
const REWRITE_MS = 120_000;

/** The cursor of a sequence; of the beginning of the newest life where it is not known. */
function startOf(lineage: CursorMap, seq: number | undefined): number {
  const newest = lineage.generations.at(-1)!;
  return (seq === undefined ? 0 : cursorOf(lineage, seq)) || newest.base + newest.from - 1;
}

export class InboxRecovery {
  readonly #nc: NatsConnection;
  readonly #log: Logger;
  readonly #partitions: number[];
  readonly #shards: InboxShards;
  #repaired = '';
  /** The broker process, and how many lives had begun, when the edges were told that all is written again. */
  #whole = '';
  /** Where the partitions ended when the broker process was first seen. */
  #heads: { server: string; of: number[] } | undefined;
  /** By partition: the broker process under which this process took it over, which says where it goes on. */
  readonly #taken = new Map<number, string>();
  /** By partition: creation time of the LOG that it was last looked up in. */
  readonly #logs = new Map<number, string>();

  constructor(nc: NatsConnection, config: Config, log: Logger) {
    this.#nc = nc;
    this.#log = log;
    this.#partitions = Array.from({ length: config.PARTITIONS }, (_, partition) => partition);
    this.#shards = new InboxShards(nc, config, log);
  }

  /** The broker process. */
  get server(): string {
    return this.#shards.server;
  }

  /** The cursor base of every shard, for the broker that is connected now. */
  cursorBases(): Promise<number[]> {
    return this.#shards.cursorBases();
  }

  /** Whether a shard was made anew since this was asked last: every partition has to be taken over again then. */
  async detectReplacedStreams(): Promise<boolean> {
    if (!(await this.#shards.detectReplacedStreams())) return false;
    this.#heads = undefined;
    this.#repaired = '';
    return true;
  }

  /**
   * For each broker process: makes sure of the shards, lets partitions that have nothing new go back to where they stand
   * in all shards (whoever works them takes them over by what comes again), and once all is written again says so to the
   * edges. False until then: call it again.
   */
  async repairInboxes(): Promise<boolean> {
    const { server } = this;
    await this.cursorBases();
    if (this.#heads?.server !== server) {
      const heads = await Promise.all(this.#partitions.map((partition) => readLogHead(this.#nc, partition)));
      this.#heads = { server, of: heads.map(({ head }) => head) };
    }
    if (server !== this.#repaired) {
      for (const partition of this.#partitions) {
        // Whoever works it here went back by itself, and may not have marked anything yet.
        const mine = (): boolean => this.#taken.get(partition) === server;
        if (mine()) continue;
        const { from, cursors, unsure } = await this.#start(partition);
        if (!unsure || mine()) continue;
        if (from === undefined) await this.writeCheckpoint(partition, this.#heads.of[partition]!, cursors, server);
        else
          await resetDurable(this.#nc, { stream: LOG, consumer: { durable_name: consumer.fanout(partition) } }, from);
      }
      this.#repaired = server;
    }
    const life = `${server} ${this.#shards.generationsBegun}`;
    if (this.#whole !== life && (await this.#isWhole(server))) {
      await this.#shards.markComplete();
      this.#whole = life;
    }
    return this.#whole === life;
  }

  /** Everything that the log held when this broker process was first seen stands in every shard. */
  async #isWhole(server: string): Promise<boolean> {
    const [manager, lineages] = [await jetstreamManager(this.#nc), await this.#shards.cursorMaps()];
    for (const partition of this.#partitions) {
      const head = this.#heads!.of[partition]!;
      if (head === 0) continue;
      const mark = await readCheckpoint(this.#nc, partition);
      if (mark?.server !== server || !isCheckpointValid(mark, lineages)) return false;
      if (mark.entry >= head) continue;
      // The last entries were dead letters, which no mark names.
      const { ack_floor } = await manager.consumers.info(LOG, consumer.fanout(partition));
      if (ack_floor.stream_seq < head) return false;
    }
    return true;
  }

  /** Says that `partition` stands in every shard up to `entry`, there at or before its cursor. */
  async writeCheckpoint(
    partition: number,
    entry: number,
    cursors: readonly number[],
    server = this.server,
  ): Promise<void> {
    const still = (): boolean => this.server === server;
    const log = this.#logs.get(partition) ?? (await readLogHead(this.#nc, partition)).created;
    await writeCheckpoint(this.#nc, partition, { entry, cursors, server, log }, await this.#shards.cursorMaps(), still);
  }

  /** Where this process goes on with a partition. */
  async startPartition(partition: number): Promise<PartitionStart> {
    this.#shards.forgetCursorMaps();
    this.#taken.set(partition, this.server);
    const start = await this.#start(partition);
    const { from, head, cursors } = start;
    // Nothing is to be written, so no batch would be followed by a mark.
    if (head > 0 && (from === undefined || from > head)) await this.writeCheckpoint(partition, head, cursors);
    return start;
  }

  async #start(partition: number): Promise<PartitionStart> {
    const lineages = await this.#shards.cursorMaps();
    const manager = await jetstreamManager(this.#nc);
    const { head, created } = await readLogHead(this.#nc, partition);
    this.#logs.set(partition, created);
    const info = await manager.consumers.info(LOG, consumer.fanout(partition));
    const floor = Math.min(info.ack_floor.stream_seq, head);
    // A log that was made anew counts from 1 again.
    const marks = (await readCheckpoints(this.#nc, partition)).filter(({ log }) => log === created);
    const found = await Promise.all(
      lineages.map((lineage, shard) => readShardProgress(this.#nc, shard, partition, lineage, marks)),
    );
    const reached = found.map(({ entry }) => entry);
    const cursors = found.map(({ entry, seq }, shard) => startOf(lineages[shard]!, entry < 0 ? undefined : seq));
    const unsure = marks[0]?.server !== this.server;
    const known = reached.filter((entry) => entry >= 0);
    let from = Math.min(...known, Number.MAX_SAFE_INTEGER) + 1;
    // The broker lives and has lost nothing: what was acknowledged is written, also where the durable was made anew.
    if (!unsure) from = Math.max(from, floor + 1);
    if (known.length < reached.length)
      from = Math.min(from, floor + 1, await this.#entryAt(partition, Date.now() - REWRITE_MS));
    if (from > head) return { from: unsure ? undefined : from, reached, cursors, head, unsure };
    if (unsure && (floor || known.length))
      this.#log.info(
        { stage: 'fanout', partition, floor, from, reached },
        'the broker was restarted: writing again what is missing',
      );
    return { from, reached, cursors, head, unsure };
  }

  /** First entry of the partition stored at `ms` or later. */
  async #entryAt(partition: number, ms: number): Promise<number> {
    const manager = await jetstreamManager(this.#nc);
    const query = {
      start_time: new Date(ms),
      next_by_subj: subject.log(partition),
      batch: 1,
    };
    for await (const message of readDirectBatch(manager, LOG, query)) return message.seq;
    return Number.MAX_SAFE_INTEGER;
  }
}
