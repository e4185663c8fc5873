/**
 * One replay of what a device missed, by its durable consumer, until it meets what is heard live. Pulls no more than the
 * device may have unacknowledged; waits for room where it has too much.
 */
import { item } from '../../../nats/inbox/item.ts';
import type { Edge } from '../edge.ts';
import type { DeviceAddress, PullSubscription, Replayed } from '../offline/device-consumers.ts';
import type { LiveItem } from './live-items.ts';

/** The inbox that is caught up. */
export interface Host extends DeviceAddress {
  readonly edge: Edge;
  readonly shard: number;
  /** Cursor of the last item sent or passed over. */
  readonly sent: number;
  /** Items that may be sent now. */
  readonly room: number;
  /** The replay has begun with so many items. */
  begun(pending: number): void;
  pass(one: LiveItem, reply: string): void;
  /** An item with this sequence came that is not to be sent. */
  skip(seq: number): void;
  lost(to: number, reason: 'quota'): void;
  /** Whether what was heard live goes on from `sent`; `drained`: the replay has nothing further. */
  meets(drained: boolean): boolean;
  met(): void;
  restart(): void;
}

const BATCH = 256;
const WAIT_MS = 500;
/** Pulls without an item after which to look anew: what was heard is not in the stream, or the durable is stuck. */
const WAITS = 3;

export class CatchUp {
  /** When something last went on. */
  moved = Date.now();
  /** Waits for the device to make room. */
  stalled = false;
  readonly #host: Host;
  #backfill: PullSubscription | undefined;
  #open = true;
  #pending = 0;
  #asked = 0;
  #waits = 0;
  #overQuota = false;

  constructor(host: Host, from: number) {
    this.#host = host;
    this.#start(from).catch((error: unknown) => {
      // The clock sees that nothing moves and begins anew.
      host.edge.log.warn({ unit: 'catch-up', device_id: host.device_id, reason: String(error) }, 'no replay');
    });
  }

  close(): void {
    this.#open = false;
    this.#backfill?.close();
  }

  resume(): void {
    if (this.stalled) this.#pull();
  }

  async #start(from: number): Promise<void> {
    const { edge, shard, user_id, device_id } = this.#host;
    await edge.away.claim(this.#host);
    if (!this.#open) return;
    const backfill = await edge.replay.open({ user_id, device_id }, from, {
      item: (one) => void (this.#open && this.#replayed(one)),
      ended: (gone) => void (this.#open && this.#ended(gone)),
    });
    const { max_per_subject } = await edge.shards.facts(shard);
    if (!this.#open) return backfill.close();
    this.#backfill = backfill;
    this.#pending = backfill.pending;
    this.#overQuota = backfill.pending >= max_per_subject;
    this.moved = Date.now();
    this.#host.begun(backfill.pending);
    this.#pull();
  }

  #pull(wait_ms = 0): void {
    const { room } = this.#host;
    this.moved = Date.now();
    this.stalled = room <= 0;
    if (this.stalled) return;
    this.#asked = Math.min(BATCH, room);
    this.#backfill?.pull(this.#asked, wait_ms);
  }

  #replayed({ data, seq, reply, pending }: Replayed): void {
    const host = this.#host;
    this.moved = Date.now();
    this.#asked--;
    this.#waits = 0;
    this.#pending = pending;
    const cursor = item.valid(data) ? item.base(data) + seq : host.sent;
    if (host.edge.shards.isUnknownGeneration(host.shard, cursor - seq)) {
      host.restart();
      return;
    }
    if (cursor > host.sent) {
      if (this.#overQuota) host.lost(cursor - 1, 'quota');
      this.#overQuota = false;
      host.pass({ data, cursor, seq, last: 0, frame: undefined }, reply);
    } else host.skip(seq);
    if (host.meets(pending === 0)) host.met();
    else if (this.#asked === 0) this.#pull(pending === 0 ? WAIT_MS : 0);
  }

  #ended(gone: boolean): void {
    const host = this.#host;
    if (!gone && host.meets(this.#pending === 0)) host.met();
    else if (gone || ++this.#waits > WAITS) host.restart();
    else this.#pull(this.#pending === 0 ? WAIT_MS : 0);
  }
}
