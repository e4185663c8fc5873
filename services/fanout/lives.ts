/**
 * The lives of the inbox shards (shared/pipeline/lineage.ts), and how far each partition stands in each of them. An inbox shard is written without fsync, so a broker that died may have lost its newest items or all of
 * it: then a new life begins, the stream is made again if need be, and the partitions go back to where all their marks
 * still stand.
 */

import { JetStreamApiError } from '@nats-io/jetstream';
import { type KV, Kvm } from '@nats-io/kv';
import type { NatsConnection } from 'nats';
import type { Logger } from 'pino';
import { resetDurable } from '../../nats/durable.ts';
import { directBatch, logHead } from '../../nats/log.ts';
import { manage } from '../../nats/manager.ts';
import { consumer, inboxStream, LINEAGE_BUCKET, LOG, MARKS, streams, subject } from '../../nats/topology.ts';
import type { Config } from '../../shared/config/index.ts';
import { beginLife, cursorOf, type Lineage } from '../../shared/pipeline/lineage.ts';
import { isHeld, reachedIn, readMark, readMarks, writeMark } from './marks.ts';

/** Where a worker goes on with a partition. */
export interface Start {
  /** The log sequence to begin at; undefined: nothing is missing, the consumer's ack floor. */
  from: number | undefined;
  /** By shard: up to which entry it has the partition already; -1 where nobody knows. */
  reached: number[];
  /** By shard: where that is. */
  cursors: number[];
  /** A mark is missing, or is one for another broker process. */
  unsure: boolean;
}
/** A stream that is gone as a whole: how far back its items are written again; what is older is told as a gap. */
const REWRITE_MS = 120_000;

/** The cursor of a sequence; of the beginning of the newest life where it is not known. */
function startOf(lineage: Lineage, seq: number | undefined): number {
  const newest = lineage.lives.at(-1)!;
  return (seq === undefined ? 0 : cursorOf(lineage, seq)) || newest.base + newest.from - 1;
}

export class Lives {
  readonly #nc: NatsConnection;
  readonly #config: Config;
  readonly #log: Logger;
  readonly #partitions: number[];
  readonly #shards: number[];
  #repaired = '';
  /** The broker process of which the edges were told that all is written again. */
  #whole = '';
  /** Where the partitions ended when the broker process was first seen. */
  #heads: { server: string; of: number[] } | undefined;
  /** By partition: the broker process under which this process took it over, which says where it goes on. */
  readonly #taken = new Map<number, string>();
  /** By partition: creation time of the LOG that it was last looked up in. */
  readonly #logs = new Map<number, string>();
  #current: { server: string; lineages: Promise<Lineage[]> } | undefined;
  #bucket: Promise<KV> | undefined;

  constructor(nc: NatsConnection, config: Config, log: Logger) {
    this.#nc = nc;
    this.#config = config;
    this.#log = log;
    this.#partitions = Array.from({ length: config.PARTITIONS }, (_, partition) => partition);
    this.#shards = Array.from({ length: config.INBOX_SHARDS }, (_, shard) => shard);
  }

  /** The broker process; a cluster of replicas is one broker that does not forget. */
  get server(): string {
    return this.#config.STREAM_REPLICAS > 1 ? 'cluster' : (this.#nc.info?.server_id ?? '');
  }

  /** The cursor base of every shard, for the broker that is connected now. */
  async bases(): Promise<number[]> {
    return (await this.#lineages()).map(({ lives }) => lives.at(-1)!.base);
  }

  /**
   * Whether the stream of a shard was made anew, here or by another process, since the lineages were read: somebody deleted
   * it while the broker lived. Every partition has to be taken over again then, and to write what the shard lacks.
   */
  async wereReplaced(): Promise<boolean> {
    const current = this.#current;
    if (current?.server !== this.server) return false;
    const lineages = await current.lineages;
    const streams = await Promise.all(this.#shards.map((shard) => this.#stream(inboxStream(shard))));
    if (this.#current !== current || streams.every(({ created }, shard) => created === lineages[shard]!.created))
      return false;
    this.#current = undefined;
    this.#heads = undefined;
    this.#repaired = '';
    this.#whole = '';
    return true;
  }

  #lineages(): Promise<Lineage[]> {
    if (this.#current?.server !== this.server) {
      const lineages = this.#stream(MARKS).then(() => Promise.all(this.#shards.map((shard) => this.#lineage(shard))));
      const current = { server: this.server, lineages };
      this.#current = current;
      lineages.catch(() => {
        if (this.#current === current) this.#current = undefined;
      });
    }
    return this.#current!.lineages;
  }

  async #lineage(shard: number): Promise<Lineage> {
    this.#bucket ??= new Kvm(this.#nc).open(LINEAGE_BUCKET);
    const bucket = await this.#bucket;
    for (;;) {
      const { created, last } = await this.#stream(inboxStream(shard));
      const entry = await bucket.get(String(shard));
      const old = entry && entry.operation === 'PUT' ? entry.json<Lineage>() : undefined;
      if (old?.server === this.server && old.created === created) return old;
      const lineage = beginLife(old, this.server, created, last);
      try {
        await bucket.put(String(shard), JSON.stringify(lineage), { previousSeq: entry?.revision ?? 0 });
        this.#log.info(
          { stage: 'fanout', shard, from: last + 1, anew: old !== undefined && old.created !== created },
          'a life of an inbox shard began',
        );
        this.#whole = '';
        return lineage;
      } catch (error) {
        // Another fanout was first: take what it wrote.
        if (!(error instanceof JetStreamApiError && error.code === 10071)) throw error;
      }
    }
  }

  /** A stream of fanout's own, made again when the broker lost it. */
  async #stream(name: string): Promise<{ created: string; last: number }> {
    const manager = await manage(this.#nc);
    const info = await manager.streams.info(name).catch((error: unknown) => {
      if (!(error instanceof JetStreamApiError && error.code === 10059)) throw error;
      this.#log.warn({ stage: 'fanout', stream: name }, 'a stream is gone: making it again');
      return manager.streams.add(streams(this.#config).find((spec) => spec.config.name === name)!.config);
    });
    return { created: String(info.created), last: info.state.last_seq };
  }

  /**
   * For each broker process: makes sure of the shards, lets partitions that have nothing new go back to where they stand
   * in all shards (whoever works them takes them over by what comes again), and once all is written again says so to the
   * edges. False until then: call it again.
   */
  async repair(): Promise<boolean> {
    const { server } = this;
    await this.bases();
    if (this.#heads?.server !== server) {
      const heads = await Promise.all(this.#partitions.map((partition) => logHead(this.#nc, partition)));
      this.#heads = { server, of: heads.map(({ head }) => head) };
    }
    if (server !== this.#repaired) {
      for (const partition of this.#partitions) {
        // Whoever works it here went back by itself, and may not have marked anything yet.
        const mine = (): boolean => this.#taken.get(partition) === server;
        if (mine()) continue;
        const { from, cursors, unsure } = await this.#start(partition);
        if (!unsure || mine()) continue;
        if (from === undefined) await this.mark(partition, this.#heads.of[partition]!, cursors, server);
        else
          await resetDurable(this.#nc, { stream: LOG, consumer: { durable_name: consumer.fanout(partition) } }, from);
      }
      this.#repaired = server;
    }
    if (this.#whole !== server && (await this.#isWhole(server))) {
      for (const shard of this.#shards) await this.#tellWhole(shard);
      this.#whole = server;
    }
    return this.#whole === server;
  }

  /** Everything that the log held when this broker process was first seen stands in every shard. */
  async #isWhole(server: string): Promise<boolean> {
    const [manager, lineages] = [await manage(this.#nc), await this.#lineages()];
    for (const partition of this.#partitions) {
      const head = this.#heads!.of[partition]!;
      if (head === 0) continue;
      const mark = await readMark(this.#nc, partition);
      if (mark?.server !== server || !isHeld(mark, lineages)) return false;
      if (mark.entry >= head) continue;
      // The last entries were dead letters, which no mark names.
      const { ack_floor } = await manager.consumers.info(LOG, consumer.fanout(partition));
      if (ack_floor.stream_seq < head) return false;
    }
    return true;
  }

  async #tellWhole(shard: number): Promise<void> {
    const bucket = await this.#bucket!;
    const entry = await bucket.get(String(shard));
    const lineage = entry?.json<Lineage>();
    if (!entry || !lineage || lineage.whole || lineage.server !== this.server) return;
    try {
      await bucket.put(String(shard), JSON.stringify({ ...lineage, whole: true }), { previousSeq: entry.revision });
    } catch (error) {
      // Another fanout said it, or began another life.
      if (!(error instanceof JetStreamApiError && error.code === 10071)) throw error;
    }
  }

  /** Says that `partition` stands in every shard up to `entry`, there at or before its cursor. */
  async mark(partition: number, entry: number, cursors: readonly number[], server = this.server): Promise<void> {
    const still = (): boolean => this.server === server;
    const log = this.#logs.get(partition) ?? (await logHead(this.#nc, partition)).created;
    await writeMark(this.#nc, partition, { entry, cursors, server, log }, await this.#lineages(), still);
  }

  /** Where this process goes on with a partition. */
  takeOver(partition: number): Promise<Start> {
    this.#current = undefined;
    this.#taken.set(partition, this.server);
    return this.#start(partition);
  }

  async #start(partition: number): Promise<Start> {
    const lineages = await this.#lineages();
    const manager = await manage(this.#nc);
    const { head, created } = await logHead(this.#nc, partition);
    this.#logs.set(partition, created);
    const info = await manager.consumers.info(LOG, consumer.fanout(partition));
    const floor = Math.min(info.ack_floor.stream_seq, head);
    // A log that was made anew counts from 1 again.
    const marks = (await readMarks(this.#nc, partition)).filter(({ log }) => log === created);
    const found = await Promise.all(
      lineages.map((lineage, shard) => reachedIn(this.#nc, shard, partition, lineage, marks)),
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
    if (from > head) return { from: unsure ? undefined : from, reached, cursors, unsure };
    if (unsure && (floor || known.length))
      this.#log.info(
        { stage: 'fanout', partition, floor, from, reached },
        'the broker was restarted: writing again what is missing',
      );
    return { from, reached, cursors, unsure };
  }

  /** First entry of the partition stored at `ms` or later. */
  async #entryAt(partition: number, ms: number): Promise<number> {
    const manager = await manage(this.#nc);
    const query = {
      start_time: new Date(ms),
      next_by_subj: subject.log(partition),
      batch: 1,
    };
    for await (const message of directBatch(manager, LOG, query)) return message.seq;
    return Number.MAX_SAFE_INTEGER;
  }
}
