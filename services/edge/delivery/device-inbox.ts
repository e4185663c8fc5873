/**
 * The inbox of one socket, towards its device:
 *
 *   starting ──nothing newer than the cursor──────────────────────────▶ live
 *       └──else──▶ backfill ──replay and live meet (cutover)──────────▶ live
 *   live ──an item is missing (Nats-Last-Sequence)──▶ backfill from the last one sent
 *   live ──device reads or acknowledges too slowly──▶ behind ──room again──▶ backfill
 *   any  ──broker reconnected, or cursors mean something else──▶ starting
 *
 * Live items come by core subscription and cost no JetStream work; those that come while it is not live are kept if few,
 * so that the replay has something to meet. The order is by cursor; what was sent is never sent again on this socket.
 */

import { item } from '../../../nats/inbox/item.ts';
import { shardOf, uuid7Time } from '../../../shared/ids.ts';
import type { Connection } from '../connections/connection.ts';
import type { Edge } from '../edge.ts';
import type { Reached } from './cursor-writer.ts';
import { Told } from './inbox-frames.ts';
import { Heard, type LiveItem } from './live-items.ts';
import { CatchUp, type Host } from './replay.ts';
import { findFirstResumePoint, findResumePoint } from './resume-point.ts';
import { Unacknowledged } from './unacknowledged.ts';

/** A device that left no room for so long goes on from where the stream begins now. */
const STALE_MS = 60_000;
/** Standing still for so long (the broker did not answer), the clock begins anew. */
const PATIENCE_MS = 8_000;

export class DeviceInbox implements Host {
  phase: 'starting' | 'backfill' | 'live' | 'behind' | 'closed' = 'starting';
  /** Cursor of the last item that was sent or passed over; -1 for a device that has none yet. */
  sent = -1;
  /** Everything up to here is safe on the device. */
  acked = -1;
  readonly shard: number;
  readonly #session: Connection;
  readonly #unacked = new Unacknowledged();
  readonly #told: Told;
  /** Stream sequence of `sent`. */
  #place = 0;
  /** An item for the device is known to have this sequence: before it has come, nothing is drained. */
  #target = 0;
  #lastAll = 0;
  #lastOwn = 0;
  /** Heard live while not live. */
  readonly #heard: Heard;
  /** Grows with every change of course; what was begun before it has no say. */
  #life = 0;
  #moved = Date.now();
  #catchUp: CatchUp | undefined;
  /** It may have a durable. */
  #durable = false;
  /** Until when the device had everything, ms since 1970. */
  #since: number;

  constructor(session: Connection) {
    this.#session = session;
    this.shard = shardOf(session.user_id, session.edge.config.INBOX_SHARDS);
    this.#since = uuid7Time(session.device_id);
    this.#heard = new Heard(session.edge.config.WS_MAX_HEARD);
    this.#told = new Told(session, this.shard);
  }

  get edge(): Edge {
    return this.#session.edge;
  }
  get user_id(): string {
    return this.#session.user_id;
  }
  get device_id(): string {
    return this.#session.device_id;
  }
  get unacked(): number {
    return this.#unacked.size;
  }
  get room(): number {
    return this.#session.full ? 0 : this.edge.config.WS_MAX_UNACKED - this.#unacked.size;
  }

  /** `reached`: what the device has acknowledged, if it ever did. */
  start(reached: Reached | undefined): void {
    if (reached) {
      this.sent = this.acked = reached.cursor;
      this.#since = reached.since;
    }
    this.#durable = reached !== undefined;
    this.restart();
  }

  /** Looks anew where the device is. */
  restart(): void {
    if (this.phase === 'closed') return;
    this.#turn('starting');
    this.#heard.clear();
    const life = this.#life;
    this.#begin(life).catch((error: unknown) => {
      if (life !== this.#life) return;
      this.edge.log.warn({ unit: 'inbox', device_id: this.device_id, reason: String(error) }, 'not found yet');
    });
  }

  close(): void {
    if (this.phase === 'closed') return;
    const { edge, device_id, session_id } = this.#session;
    this.#turn('closed');
    this.#heard.clear();
    // An item that is dropped for its age while the device is away counts from now on, not from the last one it got.
    if (this.acked >= 0 && !edge.revocations.has(session_id)) edge.cursors.set(device_id, this.acked, this.#since);
  }

  /** By the clock. */
  check(now: number): void {
    if (this.#told.owesEmpty && this.phase === 'live' && this.#told.live(this.sent) && !this.#session.full)
      this.edge.restless.delete(this.#session);
    const waits = this.phase === 'starting' || (this.#catchUp && !this.#catchUp.stalled);
    if (waits && now - Math.max(this.#moved, this.#catchUp?.moved ?? 0) > PATIENCE_MS) this.restart();
  }

  live(one: LiveItem, own: boolean): void {
    if (one.cursor <= this.sent || this.phase === 'closed') return;
    if (this.edge.shards.isUnknownGeneration(this.shard, one.cursor - one.seq)) {
      this.restart();
      return;
    }
    if (this.phase === 'live') {
      if (one.last > (own ? this.#lastOwn : this.#lastAll)) {
        this.edge.tally.gap++;
        this.#target = one.last;
        this.#replay();
      } else if (this.room <= 0) {
        this.#turn('behind');
      } else {
        if (own) this.#lastOwn = one.seq;
        else this.#lastAll = one.seq;
        this.pass(one, '');
        return;
      }
    }
    this.#heard.add(one, own, this.phase !== 'behind');
  }

  /** @returns whether it told anything new */
  ack(cursor: number): boolean {
    const { upto, reply, about } = this.#unacked.ack(Math.min(cursor, this.sent));
    for (const one of about) this.edge.delivered.add(this.user_id, this.device_id, one);
    const anew = upto !== undefined && upto > this.acked;
    if (anew) this.#advance(upto, reply);
    this.resume();
    return anew;
  }

  /** There may be room again. */
  resume(): void {
    if (this.room < this.edge.config.WS_MAX_UNACKED / 2) return;
    const waits = this.phase === 'behind' || this.#catchUp?.stalled;
    // Meanwhile items may have grown too old.
    if (waits && Date.now() - Math.max(this.#moved, this.#catchUp?.moved ?? 0) > STALE_MS) this.restart();
    else if (this.phase === 'behind') this.#replay();
    else this.#catchUp?.resume();
  }

  pass(one: LiveItem, reply: string): void {
    const { data, cursor } = one;
    this.sent = cursor;
    this.#place = one.seq;
    const expires = item.expiresAt(data);
    if (item.isFromDevice(data, this.#session.device) || (expires !== 0 && expires <= Date.now())) {
      if (!this.#unacked.passedOver(cursor, reply)) this.#advance(cursor, reply);
      return;
    }
    one.frame ??= item.frame(data, cursor);
    this.#session.say(one.frame);
    this.#unacked.sent(cursor, data, reply);
  }

  skip(seq: number): void {
    this.#place = Math.max(this.#place, seq);
  }

  lost(to: number, reason: 'retention' | 'quota' | 'reset'): void {
    this.begun(0);
    this.#told.gap(this.sent, to, reason);
    this.sent = Math.max(this.sent, to);
    this.#unacked.told(this.sent);
  }

  meets(drained: boolean): boolean {
    // A durable whose replica of the stream lags is drained too early.
    return this.#heard.meets(this.sent) || (drained && this.#heard.cursor <= this.sent && this.#place >= this.#target);
  }

  met(): void {
    this.#turn('live');
    this.begun(0);
    this.#lastAll = this.#lastOwn = this.#place;
    if (!this.#told.live(this.sent)) this.edge.restless.add(this.#session);
    if (this.#durable) this.edge.away.back(this);
    this.#durable = false;
    for (const [one, own] of this.#heard.take()) this.live(one, own);
  }

  async #begin(life: number): Promise<void> {
    const { edge, shard } = this;
    const lineage = await edge.shards.current(shard);
    if (life !== this.#life) return;
    const found =
      this.sent < 0
        ? await findFirstResumePoint(edge, shard, lineage, this.device_id)
        : await findResumePoint(edge, shard, lineage, this.sent, this.#since);
    if (life !== this.#life) return;
    if (this.sent < 0) this.#advance(found.cursor, '');
    this.sent = Math.max(this.sent, found.cursor);
    this.#place = found.seq;
    if (found.gap) this.lost(found.gap.to, found.gap.reason);
    const last = await edge.replay.last(this);
    if (life !== this.#life) return;
    this.#target = last;
    if (last <= this.#place && this.#heard.cursor <= this.sent) this.met();
    else this.#replay();
  }

  #replay(): void {
    this.#turn('backfill');
    this.#told.behind();
    this.#durable = true;
    this.edge.tally.backfill++;
    this.#catchUp = new CatchUp(this, this.#place + 1);
  }

  #turn(phase: DeviceInbox['phase']): void {
    this.settle();
    this.phase = phase;
    this.#life++;
    this.#moved = Date.now();
    this.#catchUp?.close();
    if (this.#catchUp) this.#unacked.forgetDurable();
    this.#catchUp = undefined;
    const { restless } = this.edge;
    if (phase === 'closed' || (phase === 'live' && !this.#session.full)) restless.delete(this.#session);
    else restless.add(this.#session);
  }

  begun(backlog: number): void {
    this.#told.welcome(this.acked, backlog);
  }

  /** A device that is live and has acknowledged everything has what was stored up to now, as far as the broker is heard. */
  settle(): void {
    if (this.phase === 'live' && this.#unacked.size === 0 && this.edge.connected) this.#since = Date.now();
  }

  #advance(cursor: number, reply: string): void {
    this.acked = cursor;
    this.settle();
    this.edge.cursors.set(this.device_id, cursor, this.#since);
    if (reply) this.edge.nc.publish(reply, '+ACK');
  }
}
