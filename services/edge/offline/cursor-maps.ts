/**
 * Polls the cursor maps of the inbox shards, which say what the cursors of devices mean. They are polled, not watched: they
 * matter most right after the broker came back, when a watcher would still be finding out that its consumer is gone.
 */
import type { NatsConnection } from 'nats';
import { type CursorMap, newestBase } from '../../../nats/inbox/cursor-map.ts';
import { readCursorMap } from '../../../nats/inbox/cursor-map-store.ts';
import type { Config } from '../../../shared/config/index.ts';

interface Waiter {
  shard: number;
  until: number;
  resolve(): void;
}
const POLL_MS = 1_000;
/** While an inbox waits for a cursor map. */
const EAGER_POLL_MS = 50;
/** While devices wait for items that fanout writes again. */
const RESTORE_POLL_MS = 250;
const CURSOR_MAP_WAIT_MS = 5_000;
const CURSOR_MAP_TIMEOUT_MS = 2_000;

export class CursorMaps {
  readonly #nc: NatsConnection;
  readonly #onChanged: (shard: number) => void;
  readonly #cursorMaps: (CursorMap | undefined)[];
  /** By shard: base of the newest generation that an item was seen of. */
  readonly #newestSeenBase = new Map<number, number>();
  /** By shard that fanout has not completed: the broker that it was first seen with, and when (ms since 1970). */
  readonly #incomplete = new Map<number, { server: string; since: number }>();
  readonly #restoreWaitMs: number;
  #waiters: Waiter[] = [];
  #timer: NodeJS.Timeout | undefined;
  #isClosed = false;

  /** @param onChanged called when cursors of the shard have another meaning, so that inboxes must look at theirs again */
  constructor(
    nc: NatsConnection,
    config: Pick<Config, 'INBOX_RESTORE_WAIT_MS' | 'INBOX_SHARDS'>,
    onChanged: (shard: number) => void,
  ) {
    this.#nc = nc;
    this.#onChanged = onChanged;
    this.#restoreWaitMs = config.INBOX_RESTORE_WAIT_MS;
    this.#cursorMaps = new Array(config.INBOX_SHARDS).fill(undefined);
    void this.#poll();
  }

  /** True once each shard's cursor map was read. */
  get isReady(): boolean {
    return this.#cursorMaps.every((cursorMap) => cursorMap !== undefined);
  }
  get(shard: number): CursorMap | undefined {
    return this.#cursorMaps[shard];
  }

  /**
   * Waits for the cursor map that fanout writes for the broker that is connected now.
   * @returns after CURSOR_MAP_WAIT_MS the one that there is
   * @throws when there is none yet
   */
  async waitForCurrent(shard: number): Promise<CursorMap> {
    if (!this.#isCurrent(shard)) {
      await new Promise<void>((resolve) => {
        this.#waiters.push({ shard, until: Date.now() + CURSOR_MAP_WAIT_MS, resolve });
        if (this.#waiters.length === 1) void this.#poll();
      });
    }
    const cursorMap = this.#cursorMaps[shard];
    if (!cursorMap) throw new Error(`inbox shard ${shard} has no cursor map yet: fanout has not started`);
    return cursorMap;
  }

  /**
   * True once fanout has written again what the running broker may have lost, so that an inbox can be called empty. Also true
   * after INBOX_RESTORE_WAIT_MS without that word; otherwise clients would wait for ever where fanout does not run.
   */
  isComplete(shard: number): boolean {
    if (this.#isCurrent(shard) && this.#cursorMaps[shard]!.whole) {
      this.#incomplete.delete(shard);
      return true;
    }
    const server = this.#nc.info?.server_id ?? '';
    let known = this.#incomplete.get(shard);
    if (known?.server !== server) {
      known = { server, since: Date.now() };
      this.#incomplete.set(shard, known);
    }
    return Date.now() - known.since > this.#restoreWaitMs;
  }

  /**
   * True for an item whose generation is not in the cursor map that was read last: what was lost before it can't be known.
   * From then on `waitForCurrent` waits for a map with that generation.
   */
  isUnknownGeneration(shard: number, base: number): boolean {
    if (base <= this.#newestBase(shard)) return false;
    this.#newestSeenBase.set(shard, Math.max(base, this.#newestSeenBase.get(shard) ?? 0));
    return true;
  }

  close(): void {
    this.#isClosed = true;
    clearTimeout(this.#timer);
    for (const { resolve } of this.#waiters.splice(0)) resolve();
  }

  #isCurrent(shard: number): boolean {
    const server = this.#cursorMaps[shard]?.server;
    const isOfBroker = server !== undefined && (server === 'cluster' || server === this.#nc.info?.server_id);
    return isOfBroker && this.#newestBase(shard) >= (this.#newestSeenBase.get(shard) ?? 0);
  }

  #newestBase(shard: number): number {
    const cursorMap = this.#cursorMaps[shard];
    return cursorMap ? newestBase(cursorMap) : 0;
  }

  async #poll(): Promise<void> {
    clearTimeout(this.#timer);
    await Promise.all(this.#cursorMaps.map((_, shard) => this.#readCursorMap(shard).catch(() => {})));
    if (this.#isClosed) return;
    clearTimeout(this.#timer);
    const now = Date.now();
    const stillWaiting: Waiter[] = [];
    for (const waiter of this.#waiters) {
      if (this.#isCurrent(waiter.shard) || waiter.until < now) waiter.resolve();
      else stillWaiting.push(waiter);
    }
    this.#waiters = stillWaiting;
    const isEager = stillWaiting.length > 0 || !this.isReady;
    const delayMs = isEager ? EAGER_POLL_MS : this.#incomplete.size ? RESTORE_POLL_MS : POLL_MS;
    this.#timer = setTimeout(() => void this.#poll(), delayMs).unref();
  }

  async #readCursorMap(shard: number): Promise<void> {
    const { map: cursorMap } = await readCursorMap(this.#nc, shard, CURSOR_MAP_TIMEOUT_MS);
    if (!cursorMap) return;
    const old = this.#cursorMaps[shard];
    this.#cursorMaps[shard] = cursorMap;
    const isSame = old && old.server === cursorMap.server && newestBase(old) === newestBase(cursorMap);
    if (old && !isSame) this.#onChanged(shard);
  }
}
