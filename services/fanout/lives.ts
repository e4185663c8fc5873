/**
 * The lives of the inbox shards (shared/pipeline/lineage.ts) and the marks that say how far each partition stands in
 * each shard. An inbox shard is written without fsync, so a broker that died may have lost its newest items or all of
 * it: then a new life begins, the stream is made again if need be, and the partitions go back to where all their marks
 * still stand.
 */
import { JetStreamApiError, jetstreamManager } from '@nats-io/jetstream';
import { type KV, Kvm } from '@nats-io/kv';
import { headers, type NatsConnection } from 'nats';
import type { Logger } from 'pino';
import { directBatch, logHead } from '../../nats/log.ts';
import { consumer, inboxStream, LINEAGE_BUCKET, LOG, streams, subject } from '../../nats/topology.ts';
import type { Config } from '../../shared/config/index.ts';
import { beginLife, type Lineage } from '../../shared/pipeline/lineage.ts';

interface Mark {
  entry: number;
  /** The broker process that had it. */
  server: string;
}
/** A stream that is gone as a whole: how far back its items are written again; what is older is told as a gap. */
const REWRITE_MS = 120_000;

export class Lives {
  readonly #nc: NatsConnection;
  readonly #config: Config;
  readonly #log: Logger;
  #repaired = '';
  /** By partition: the broker process under which this process took it over, which says where it goes on. */
  readonly #taken = new Map<number, string>();
  #current: { server: string; bases: Promise<number[]> } | undefined;
  #bucket: Promise<KV> | undefined;

  constructor(nc: NatsConnection, config: Config, log: Logger) {
    this.#nc = nc;
    this.#config = config;
    this.#log = log;
  }

  /** The broker process; a cluster of replicas is one broker that does not forget. */
  get server(): string {
    return this.#config.STREAM_REPLICAS > 1 ? 'cluster' : (this.#nc.info?.server_id ?? '');
  }

  /** The cursor base of every shard, for the broker that is connected now. */
  bases(): Promise<number[]> {
    if (this.#current?.server !== this.server) {
      const shards = Array.from({ length: this.#config.INBOX_SHARDS }, (_, shard) => this.#base(shard));
      const current = { server: this.server, bases: Promise.all(shards) };
      this.#current = current;
      current.bases.catch(() => {
        if (this.#current === current) this.#current = undefined;
      });
    }
    return this.#current!.bases;
  }

  async #base(shard: number): Promise<number> {
    this.#bucket ??= new Kvm(this.#nc).open(LINEAGE_BUCKET);
    const bucket = await this.#bucket;
    for (;;) {
      const { created, last } = await this.#stream(shard);
      const entry = await bucket.get(String(shard));
      const old = entry && entry.operation === 'PUT' ? entry.json<Lineage>() : undefined;
      if (old?.server === this.server && old.created === created) return old.lives.at(-1)!.base;
      const lineage = beginLife(old, this.server, created, last);
      try {
        await bucket.put(String(shard), JSON.stringify(lineage), { previousSeq: entry?.revision ?? 0 });
        this.#log.info(
          { stage: 'fanout', shard, from: last + 1, anew: old !== undefined && old.created !== created },
          'a life of an inbox shard began',
        );
        return lineage.lives.at(-1)!.base;
      } catch (error) {
        // Another fanout was first: take what it wrote.
        if (!(error instanceof JetStreamApiError && error.code === 10071)) throw error;
      }
    }
  }

  /** The shard's stream, made again when the broker lost it. */
  async #stream(shard: number): Promise<{ created: string; last: number }> {
    const manager = await jetstreamManager(this.#nc, { checkAPI: false });
    const name = inboxStream(shard);
    const info = await manager.streams.info(name).catch((error: unknown) => {
      if (!(error instanceof JetStreamApiError && error.code === 10059)) throw error;
      this.#log.warn({ stage: 'fanout', shard }, 'an inbox shard is gone: making it again');
      return manager.streams.add(streams(this.#config).find((spec) => spec.config.name === name)!.config);
    });
    return { created: String(info.created), last: info.state.last_seq };
  }

  /**
   * Once for each broker process: makes sure of the shards, and lets partitions that have nothing new go back to where
   * their marks stand. Whoever works them takes them over by what comes again.
   */
  async repair(): Promise<void> {
    const { server } = this;
    await this.bases();
    if (server === this.#repaired) return;
    for (let partition = 0; partition < this.#config.PARTITIONS; partition++) {
      // Whoever works it here went back by itself, and may not have marked anything yet.
      const mine = (): boolean => this.#taken.get(partition) === server;
      const from = mine() ? undefined : await this.#start(partition);
      if (from === undefined || mine()) continue;
      const path = `$JS.API.CONSUMER.RESET.${LOG}.${consumer.fanout(partition)}`;
      await this.#nc.request(path, JSON.stringify({ seq: from }), { timeout: 5_000 });
    }
    this.#repaired = server;
  }

  /** Says in every shard that `partition` stands there up to `entry`; each mark replaces the one before. */
  mark(partition: number, entry: number): void {
    const rollup = headers();
    rollup.set('Nats-Rollup', 'sub');
    const mark = JSON.stringify({ entry, server: this.server } satisfies Mark);
    for (let shard = 0; shard < this.#config.INBOX_SHARDS; shard++)
      this.#nc.publish(subject.mark(shard, partition), mark, { headers: rollup });
  }

  /** Where this process goes on with a partition: undefined for its consumer's ack floor, else the log sequence to begin at. */
  takeOver(partition: number): Promise<number | undefined> {
    this.#current = undefined;
    this.#taken.set(partition, this.server);
    return this.#start(partition);
  }

  async #start(partition: number): Promise<number | undefined> {
    await this.bases();
    const manager = await jetstreamManager(this.#nc, { checkAPI: false });
    const { head } = await logHead(this.#nc, partition);
    const info = await manager.consumers.info(LOG, consumer.fanout(partition));
    const floor = Math.min(info.ack_floor.stream_seq, head);
    const marks = await Promise.all(
      Array.from({ length: this.#config.INBOX_SHARDS }, (_, shard) => this.#mark(shard, partition)),
    );
    if (marks.every((mark) => mark?.server === this.server)) return undefined;
    const known = marks.filter((mark) => mark !== undefined);
    let from = Math.min(floor, ...known.map(({ entry }) => entry)) + 1;
    if (known.length < marks.length) from = Math.min(from, await this.#entryAt(partition, Date.now() - REWRITE_MS));
    if (from > head) return undefined;
    if (floor || known.length)
      this.#log.info(
        { stage: 'fanout', partition, floor, from },
        'the broker was restarted: writing again what may be missing',
      );
    return from;
  }

  async #mark(shard: number, partition: number): Promise<Mark | undefined> {
    const manager = await jetstreamManager(this.#nc, { checkAPI: false });
    try {
      const stored = await manager.direct.getMessage(inboxStream(shard), {
        last_by_subj: subject.mark(shard, partition),
      });
      return stored?.json<Mark>();
    } catch (error) {
      if (error instanceof JetStreamApiError && error.code === 10037) return undefined;
      throw error;
    }
  }

  /** First entry of the partition stored at `ms` or later. */
  async #entryAt(partition: number, ms: number): Promise<number> {
    const manager = await jetstreamManager(this.#nc, { checkAPI: false });
    const query = {
      start_time: new Date(ms),
      next_by_subj: subject.log(partition),
      batch: 1,
    };
    for await (const message of directBatch(manager, LOG, query)) return message.seq;
    return Number.MAX_SAFE_INTEGER;
  }
}
