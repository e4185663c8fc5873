/**
 * The streams of the inbox shards and their lives (nats/inbox/cursor-map.ts). An inbox shard is written without fsync, so a
 * broker that died may have lost its newest items or all of it: then a new life begins, and the stream is made again if need
 * be.
 */
import { JetStreamApiError } from '@nats-io/jetstream';
import type { NatsConnection } from 'nats';
import type { Logger } from 'pino';
import { beginGeneration, type CursorMap, newestBase } from '../../nats/inbox/cursor-map.ts';
import { readCursorMap, writeCursorMap } from '../../nats/inbox/cursor-map-store.ts';
import { jetstreamManager } from '../../nats/jetstream-manager.ts';
import { inboxStream, MARKS, streams } from '../../nats/topology.ts';
import type { Config } from '../../shared/config/index.ts';

const NO_STREAM = 10059;

export class InboxShards {
  readonly #nc: NatsConnection;
  readonly #config: Config;
  readonly #log: Logger;
  readonly #numbers: number[];
  #current: { server: string; lineages: Promise<CursorMap[]> } | undefined;
  /** When the streams were made, as seen last. */
  #created: string | undefined;
  /** Lives that this process began. */
  generationsBegun = 0;

  constructor(nc: NatsConnection, config: Config, log: Logger) {
    this.#nc = nc;
    this.#config = config;
    this.#log = log;
    this.#numbers = Array.from({ length: config.INBOX_SHARDS }, (_, shard) => shard);
  }

  /** The broker process; a cluster of replicas is one broker that does not forget. */
  get server(): string {
    return this.#config.STREAM_REPLICAS > 1 ? 'cluster' : (this.#nc.info?.server_id ?? '');
  }

  /** The lineages are read anew when they are wanted next. */
  forgetCursorMaps(): void {
    this.#current = undefined;
  }

  /** The cursor base of every shard, for the broker that is connected now. */
  async cursorBases(): Promise<number[]> {
    return (await this.cursorMaps()).map(newestBase);
  }

  /**
   * Whether the stream of a shard was made anew, here or by another process, since this was asked last: the broker lost it,
   * or somebody deleted it. Every partition has to be taken over again then, and to write what the shard lacks.
   */
  async detectReplacedStreams(): Promise<boolean> {
    const streams = await Promise.all(this.#numbers.map((shard) => this.#stream(inboxStream(shard))));
    const created = streams.map((one) => one.created).join(' ');
    const replaced = this.#created !== undefined && this.#created !== created;
    this.#created = created;
    if (replaced) this.forgetCursorMaps();
    return replaced;
  }

  /** Of every shard, for the broker that is connected now. */
  cursorMaps(): Promise<CursorMap[]> {
    if (this.#current?.server !== this.server) {
      const lineages = this.#stream(MARKS).then(() => Promise.all(this.#numbers.map((shard) => this.#lineage(shard))));
      const current = { server: this.server, lineages };
      this.#current = current;
      lineages.catch(() => {
        if (this.#current === current) this.#current = undefined;
      });
    }
    return this.#current!.lineages;
  }

  async #lineage(shard: number): Promise<CursorMap> {
    for (;;) {
      const { created, last } = await this.#stream(inboxStream(shard));
      const { map: old, revision } = await readCursorMap(this.#nc, shard);
      if (old?.server === this.server && old.created === created) return old;
      const lineage = beginGeneration(old, this.server, created, last);
      // Where another fanout was first: take what it wrote.
      if (!(await writeCursorMap(this.#nc, shard, lineage, revision))) continue;
      this.#log.info(
        { stage: 'fanout', shard, from: last + 1, anew: old !== undefined && old.created !== created },
        'a life of an inbox shard began',
      );
      this.generationsBegun++;
      return lineage;
    }
  }

  /** A stream of fanout's own, made again when the broker lost it. */
  async #stream(name: string): Promise<{ created: string; last: number }> {
    const manager = await jetstreamManager(this.#nc);
    const info = await manager.streams.info(name).catch((error: unknown) => {
      if (!(error instanceof JetStreamApiError && error.code === NO_STREAM)) throw error;
      this.#log.warn({ stage: 'fanout', stream: name }, 'a stream is gone: making it again');
      return manager.streams.add(streams(this.#config).find((spec) => spec.config.name === name)!.config);
    });
    return { created: String(info.created), last: info.state.last_seq };
  }

  /** Edges need not hold back `inbox.empty` any more: every shard has what the log held when its life began. */
  async markComplete(): Promise<void> {
    for (const shard of this.#numbers) await this.#tellWhole(shard);
  }

  async #tellWhole(shard: number): Promise<void> {
    const { map, revision } = await readCursorMap(this.#nc, shard);
    if (!map || map.whole || map.server !== this.server) return;
    // Where it is not written, another fanout said it, or began another life.
    await writeCursorMap(this.#nc, shard, { ...map, whole: true }, revision);
  }
}
