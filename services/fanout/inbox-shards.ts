/**
 * Keeps the streams of the inbox shards and their cursor maps (nats/inbox/cursor-map.ts). A shard is written without fsync, so
 * a broker that died may have lost its newest items or all of it: then a new generation of cursors begins, and the stream is
 * made again if necessary.
 */
import type { NatsConnection } from 'nats';
import type { Logger } from 'pino';
import { isStreamNotFound } from '../../nats/errors.ts';
import { beginGeneration, type CursorMap, newestBase } from '../../nats/inbox/cursor-map.ts';
import { readCursorMapFromLeader, writeCursorMap } from '../../nats/inbox/cursor-map-store.ts';
import { jetstreamManager } from '../../nats/jetstream-manager.ts';
import { streamSpec } from '../../nats/streams.ts';
import { inboxStream, MARKS } from '../../nats/topology.ts';
import type { Config } from '../../shared/config/index.ts';

export class InboxShards {
  readonly #nc: NatsConnection;
  readonly #config: Config;
  readonly #log: Logger;
  readonly #shards: number[];
  #current: { server: string; maps: Promise<CursorMap[]> } | undefined;
  /** Creation times of the streams when they were last compared. */
  #created: string | undefined;
  /** Generations that this process began. */
  generationsBegun = 0;

  constructor(nc: NatsConnection, config: Config, log: Logger) {
    this.#nc = nc;
    this.#config = config;
    this.#log = log;
    this.#shards = Array.from({ length: config.INBOX_SHARDS }, (_, shard) => shard);
  }

  /** Names the broker process; a cluster of replicas is one broker that does not forget. */
  get server(): string {
    return this.#config.STREAM_REPLICAS > 1 ? 'cluster' : (this.#nc.info?.server_id ?? '');
  }

  /** Makes the next call of `cursorMaps` read them again. */
  forgetCursorMaps(): void {
    this.#current = undefined;
  }

  /** Returns the cursor base of each shard, for the broker that is connected now. */
  async cursorBases(): Promise<number[]> {
    return (await this.cursorMaps()).map(newestBase);
  }

  /**
   * Returns true when the stream of a shard was made again since the last call, by this or another process: the broker lost
   * it, or an operator deleted it. Every partition must be taken over again then, to write what the shard lacks.
   */
  async detectReplacedStreams(): Promise<boolean> {
    const streams = await Promise.all(this.#shards.map((shard) => this.#ensureStream(inboxStream(shard))));
    const created = streams.map((stream) => stream.created).join(' ');
    const replaced = this.#created !== undefined && this.#created !== created;
    this.#created = created;
    if (replaced) this.forgetCursorMaps();
    return replaced;
  }

  /** Returns the cursor map of each shard, for the broker that is connected now. */
  cursorMaps(): Promise<CursorMap[]> {
    if (this.#current?.server !== this.server) {
      const maps = this.#ensureStream(MARKS).then(() =>
        Promise.all(this.#shards.map((shard) => this.#ensureCursorMap(shard))),
      );
      const current = { server: this.server, maps };
      this.#current = current;
      maps.catch(() => {
        if (this.#current === current) this.#current = undefined;
      });
    }
    return this.#current!.maps;
  }

  /** Reads the cursor map of a shard, and begins a new generation where it belongs to another broker process or stream. */
  async #ensureCursorMap(shard: number): Promise<CursorMap> {
    for (;;) {
      const { created, lastSeq } = await this.#ensureStream(inboxStream(shard));
      const { map: old, revision } = await readCursorMapFromLeader(this.#nc, shard);
      if (old?.server === this.server && old.created === created) return old;
      const map = beginGeneration(old, this.server, created, lastSeq);
      // When another fanout was first, its map is read in the next round.
      if (!(await writeCursorMap(this.#nc, shard, map, revision))) continue;
      this.#log.info(
        { stage: 'fanout', shard, from: lastSeq + 1, anew: old !== undefined && old.created !== created },
        'a generation of cursors began in an inbox shard',
      );
      this.generationsBegun++;
      return map;
    }
  }

  /** Reads a stream that fanout owns, and makes it again when the broker lost it. */
  async #ensureStream(name: string): Promise<{ created: string; lastSeq: number }> {
    const manager = await jetstreamManager(this.#nc);
    const info = await manager.streams.info(name).catch((error: unknown) => {
      if (!isStreamNotFound(error)) throw error;
      this.#log.warn({ stage: 'fanout', stream: name }, 'a stream is gone: making it again');
      return manager.streams.add(streamSpec(this.#config, name).config);
    });
    return { created: String(info.created), lastSeq: info.state.last_seq };
  }

  /**
   * Marks each shard as complete: it has what the log held when its generation began. Until then the edges do not send
   * `inbox.empty`, since a device may still lack items that come later.
   */
  async markComplete(): Promise<void> {
    for (const shard of this.#shards) {
      const { map, revision } = await readCursorMapFromLeader(this.#nc, shard);
      if (!map || map.whole || map.server !== this.server) continue;
      // If the write is refused, another fanout has done it, or began another generation.
      await writeCursorMap(this.#nc, shard, { ...map, whole: true }, revision);
    }
  }
}
