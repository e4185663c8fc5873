/**
 * What the edge knows of the inbox shards: their lineage (which cursors mean what) and where their streams begin.
 * The lineage is polled, not watched: it matters most right after the broker came back, when a watcher would still be
 * finding out that its consumer is gone.
 */
import type { NatsConnection } from 'nats';
import { type CursorMap, cursorOf } from '../../../nats/inbox/cursor-map.ts';
import { readCursorMap } from '../../../nats/inbox/cursor-map-store.ts';
import { inboxStream } from '../../../nats/topology.ts';
import { serializedByKey } from '../../../shared/async/single-flight.ts';
import type { Config } from '../../../shared/config/index.ts';

export interface StreamFacts {
  first_seq: number;
  last_seq: number;
  /** When the newest message was stored, ms since 1970; long ago where there never was one. */
  last_at: number;
  /**
   * No item that the stream has dropped from its beginning was stored later, ms since 1970: when the oldest message that is
   * left was stored, or, in an empty stream, the newest that there ever was. Infinity where the broker does not know.
   */
  dropped_until: number;
  max_per_subject: number;
}
interface Waiting {
  shard: number;
  until: number;
  resolve(): void;
}
const POLL_MS = 1_000;
const EAGER_MS = 50;
const READ_TIMEOUT_MS = 2_000;
/** While devices wait for what is written again. */
const RESTORE_POLL_MS = 250;
const PATIENCE_MS = 5_000;
const FACTS_MS = 5_000;
/** The newest item of an empty stream may have been on its way to a device that left with everything else. */
const ON_THE_WAY_MS = 5_000;
/** Others wait behind one whose answer was lost. */
const INFO_TIMEOUT_MS = 2_000;

/** An empty stream has no first item (the broker says 0001-01-01), and still knows when the last one was stored. */
function droppedUntil(state: { messages: number; first_ts: string; last_ts: string }): number {
  if (state.messages > 0) return Date.parse(state.first_ts);
  const last_at = Date.parse(state.last_ts);
  return last_at > 0 ? last_at + ON_THE_WAY_MS : Number.POSITIVE_INFINITY;
}

/** The cursor of a stream sequence, also of one before everything: `cursorOf` knows those of items. */
export function cursorAt(lineage: CursorMap, seq: number): number {
  const [first] = lineage.generations;
  return seq < first!.from ? first!.base + seq : cursorOf(lineage, seq);
}

export class InboxShards {
  readonly #nc: NatsConnection;
  readonly #changed: (shard: number) => void;
  readonly #lineages: (CursorMap | undefined)[];
  /** By shard: base of the newest life that was heard of. */
  readonly #heard = new Map<number, number>();
  readonly #facts = new Map<number, StreamFacts & { at: number }>();
  /** By shard that is not whole: the broker it was seen with, and since when (ms since 1970). */
  readonly #partly = new Map<number, { server: string; since: number }>();
  readonly #restoreMs: number;
  readonly #ask = serializedByKey((shard: number) => this.#info(shard));
  #waiting: Waiting[] = [];
  #timer: NodeJS.Timeout | undefined;
  #closed = false;

  /** `changed`: cursors of the shard have to be looked at again. */
  constructor(nc: NatsConnection, config: Config, changed: (shard: number) => void) {
    this.#nc = nc;
    this.#changed = changed;
    this.#restoreMs = config.INBOX_RESTORE_WAIT_MS;
    this.#lineages = new Array(config.INBOX_SHARDS).fill(undefined);
    void this.#poll();
  }

  get ready(): boolean {
    return this.#lineages.every((lineage) => lineage !== undefined);
  }
  get(shard: number): CursorMap | undefined {
    return this.#lineages[shard];
  }

  /**
   * The lineage that fanout wrote for the broker that is connected now; after a while the one there is.
   * @throws when there is none yet.
   */
  async current(shard: number): Promise<CursorMap> {
    if (!this.#fits(shard)) {
      await new Promise<void>((resolve) => {
        this.#waiting.push({ shard, until: Date.now() + PATIENCE_MS, resolve });
        if (this.#waiting.length === 1) void this.#poll();
      });
    }
    const lineage = this.#lineages[shard];
    if (!lineage) throw new Error(`inbox shard ${shard} has no lineage yet: fanout has not begun`);
    return lineage;
  }

  /**
   * True once fanout has written again what the running broker may have lost, so that an inbox can be called empty; and
   * after INBOX_RESTORE_WAIT_MS without that word, lest clients wait for ever where fanout is missing.
   */
  whole(shard: number): boolean {
    if (this.#fits(shard) && this.#lineages[shard]!.whole) {
      this.#partly.delete(shard);
      return true;
    }
    const server = this.#nc.info?.server_id ?? '';
    let known = this.#partly.get(shard);
    if (known?.server !== server) {
      known = { server, since: Date.now() };
      this.#partly.set(shard, known);
    }
    return Date.now() - known.since > this.#restoreMs;
  }

  /**
   * True for an item of a life that is not known here yet, so that nobody can say what was lost before it: from then on
   * `current` waits for that life.
   */
  isUnknownGeneration(shard: number, base: number): boolean {
    if (base <= this.#newest(shard)) return false;
    this.#heard.set(shard, Math.max(base, this.#heard.get(shard) ?? 0));
    return true;
  }

  /** At most `FACTS_MS` old; when `fresh`, asked after the call. */
  async facts(shard: number, fresh = false): Promise<StreamFacts> {
    const known = this.#facts.get(shard);
    if (known && !fresh && Date.now() - known.at < FACTS_MS) return known;
    return await this.#ask(shard);
  }

  close(): void {
    this.#closed = true;
    clearTimeout(this.#timer);
    for (const { resolve } of this.#waiting.splice(0)) resolve();
  }

  #fits(shard: number): boolean {
    const server = this.#lineages[shard]?.server;
    const good = server !== undefined && (server === 'cluster' || server === this.#nc.info?.server_id);
    return good && this.#newest(shard) >= (this.#heard.get(shard) ?? 0);
  }

  #newest(shard: number): number {
    return this.#lineages[shard]?.generations.at(-1)?.base ?? 0;
  }

  async #poll(): Promise<void> {
    clearTimeout(this.#timer);
    await Promise.all(this.#lineages.map((_, shard) => this.#read(shard).catch(() => {})));
    if (this.#closed) return;
    clearTimeout(this.#timer);
    const now = Date.now();
    const still: Waiting[] = [];
    for (const one of this.#waiting) {
      if (this.#fits(one.shard) || one.until < now) one.resolve();
      else still.push(one);
    }
    this.#waiting = still;
    this.#timer = setTimeout(
      () => void this.#poll(),
      still.length || !this.ready ? EAGER_MS : this.#partly.size ? RESTORE_POLL_MS : POLL_MS,
    ).unref();
  }

  async #read(shard: number): Promise<void> {
    const { map: lineage } = await readCursorMap(this.#nc, shard, READ_TIMEOUT_MS);
    if (!lineage) return;
    const old = this.#lineages[shard];
    this.#lineages[shard] = lineage;
    const same =
      old && old.server === lineage.server && old.generations.at(-1)!.base === lineage.generations.at(-1)!.base;
    if (old && !same) this.#changed(shard);
  }

  async #info(shard: number): Promise<StreamFacts> {
    const reply = await this.#nc.request(`$JS.API.STREAM.INFO.${inboxStream(shard)}`, '', { timeout: INFO_TIMEOUT_MS });
    const info = reply.json<{
      config: { max_msgs_per_subject: number };
      state: { messages: number; first_seq: number; last_seq: number; first_ts: string; last_ts: string };
      error?: { description: string };
    }>();
    if (info.error) throw new Error(info.error.description);
    const { config, state } = info;
    const facts = {
      first_seq: state.first_seq,
      last_seq: state.last_seq,
      last_at: Date.parse(state.last_ts),
      dropped_until: droppedUntil(state),
      max_per_subject: config.max_msgs_per_subject > 0 ? config.max_msgs_per_subject : Number.POSITIVE_INFINITY,
      at: Date.now(),
    };
    this.#facts.set(shard, facts);
    return facts;
  }
}
