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
import { shardOf, uuid7Time } from '../../shared/ids.ts';
import { item } from '../../shared/pipeline/item.ts';
import { type Lineage, placeOf } from '../../shared/pipeline/lineage.ts';
import type { Backfill, Replayed } from './replay.ts';
import type { Session } from './session.ts';
import { cursorAt } from './shards.ts';
import { welcome } from './welcome.ts';

/** One item heard live, shared by all sockets of its user. */
export interface Live {
  data: Buffer;
  cursor: number;
  seq: number;
  /** Sequence of the item before it on the same subject. */
  last: number;
  frame: Buffer | undefined;
}
/** Sent and not acknowledged. */
interface Entry {
  cursor: number;
  /** Acknowledging it covers everything up to here: items that were passed over follow it. */
  upto: number;
  reply: string;
  /** The item's prefix, where its sender wants to hear `delivered`. */
  about: Buffer | undefined;
}

const BATCH = 256;
const HELD = 64;
const WAIT_MS = 500;
/** Pulls without an item after which to look anew: what was heard is not in the stream, or the durable is stuck. */
const WAITS = 3;
/** Standing still for so long, the clock begins anew. */
const PATIENCE_MS = 4_000;
const PREFIX = 91;

export class Inbox {
  phase: 'starting' | 'backfill' | 'live' | 'behind' | 'closed' = 'starting';
  /** Cursor of the last item that was sent or passed over. */
  sent = 0;
  /** Everything up to here is safe on the device. */
  acked = 0;
  /** When something last went on, for the clock. */
  moved = Date.now();
  readonly #session: Session;
  readonly #shard: number;
  /** Stream sequence of `sent`. */
  #place = 0;
  #lastAll = 0;
  #lastOwn = 0;
  /** Highest cursor heard live while not live. */
  #heard = 0;
  #held: [Live, own: boolean][] = [];
  #unacked: Entry[] = [];
  #head = 0;
  /** Grows with every change of course; what was begun before it has no say. */
  #life = 0;
  #backfill: Backfill | undefined;
  #pending = 0;
  #asked = 0;
  #waits = 0;
  #stalled = false;
  #replays = 0;
  #overQuota = false;
  #greeted = false;
  #announce = true;
  /** When the device's cursor was last moved, ms since 1970; undefined for a device that never had one. */
  #since: number | undefined;

  constructor(session: Session) {
    this.#session = session;
    this.#shard = shardOf(session.user_id, session.edge.config.INBOX_SHARDS);
  }

  get unacked(): number {
    return this.#unacked.length - this.#head;
  }

  /** `cursor`: what the device has acknowledged, if it ever did. */
  start(cursor: number | undefined, since: number | undefined): void {
    this.sent = this.acked = cursor ?? -1;
    this.#since = since;
    this.restart();
  }

  /** Looks anew where the device is. */
  restart(): void {
    if (this.phase === 'closed') return;
    this.phase = 'starting';
    this.#turn();
    this.#heard = 0;
    this.#held = [];
    const life = this.#life;
    this.#begin(life).catch((error: unknown) => {
      if (life !== this.#life) return;
      const { log } = this.#session.edge;
      log.warn({ unit: 'inbox', connection: this.#session.connection_id, reason: String(error) }, 'tried again soon');
    });
  }

  /** By the clock. */
  check(now: number): void {
    const waits = this.phase === 'starting' || (this.phase === 'backfill' && !this.#stalled);
    if (waits && now - this.moved > PATIENCE_MS) this.restart();
  }

  close(): void {
    if (this.phase === 'closed') return;
    this.#turn();
    this.phase = 'closed';
    this.#held = [];
    this.#session.edge.restless.delete(this.#session);
  }

  live(one: Live, own: boolean): void {
    if (one.cursor <= this.sent || this.phase === 'closed') return;
    if (this.#session.edge.shards.surprises(this.#shard, one.cursor - one.seq)) {
      this.restart();
      return;
    }
    if (this.phase !== 'live') {
      if (one.cursor > this.#heard) this.#heard = one.cursor;
      if (this.phase === 'behind') return;
      if (this.#held.length === HELD) this.#held = [];
      this.#held.push([one, own]);
      return;
    }
    if (one.last > (own ? this.#lastOwn : this.#lastAll)) {
      this.#session.edge.tally.gap++;
      this.#heard = one.cursor;
      this.#catchUp();
      return;
    }
    if (!this.#room()) {
      this.phase = 'behind';
      this.#heard = one.cursor;
      this.#session.edge.restless.add(this.#session);
      return;
    }
    if (own) this.#lastOwn = one.seq;
    else this.#lastAll = one.seq;
    this.#pass(one, '');
  }

  ack(cursor: number): void {
    const upto = Math.min(cursor, this.sent);
    const { edge, device_id, user_id } = this.#session;
    let reply = '';
    let about: Buffer | undefined;
    for (; this.#head < this.#unacked.length; this.#head++) {
      const entry = this.#unacked[this.#head]!;
      if (entry.cursor > upto) break;
      if (entry.upto > this.acked) this.acked = entry.upto;
      if (entry.reply) reply = entry.reply;
      if (!entry.about) continue;
      if (about && !sameThread(about, entry.about)) edge.delivered.add(user_id, device_id, about);
      about = entry.about;
    }
    if (about) edge.delivered.add(user_id, device_id, about);
    if (this.#head === this.#unacked.length) {
      this.#unacked = [];
      this.#head = 0;
    } else if (this.#head > 256) {
      this.#unacked = this.#unacked.slice(this.#head);
      this.#head = 0;
    }
    if (this.acked >= 0) edge.cursors.set(device_id, this.acked);
    if (reply) edge.nc.publish(reply, '+ACK');
    this.resume();
  }

  /** There may be room again. */
  resume(): void {
    if (this.#session.full || this.unacked > this.#session.edge.config.WS_MAX_UNACKED / 2) return;
    if (this.phase === 'behind') this.#catchUp();
    else if (this.phase === 'backfill' && this.#stalled) this.#pull();
  }

  #room(): boolean {
    return !this.#session.full && this.unacked < this.#session.edge.config.WS_MAX_UNACKED;
  }

  #turn(): void {
    this.#life++;
    this.moved = Date.now();
    this.#stalled = false;
    if (this.#backfill) {
      this.#backfill.close();
      this.#backfill = undefined;
      // Acknowledgements of a durable that may be gone or begun anew.
      for (const entry of this.#unacked) entry.reply = '';
    }
    if (this.phase !== 'closed') this.#session.edge.restless.add(this.#session);
  }

  async #begin(life: number): Promise<void> {
    const { edge, device_id } = this.#session;
    const lineage = await edge.shards.current(this.#shard);
    if (life !== this.#life) return;
    if (this.sent < 0) {
      const seq = await edge.replay.before(this.#shard, uuid7Time(device_id));
      if (life !== this.#life) return;
      this.sent = this.acked = cursorAt(lineage, seq);
      edge.cursors.set(device_id, this.acked);
    }
    const { seq, lost } = placeOf(lineage, this.sent);
    this.#place = seq;
    if (lost) this.#gap(cursorAt(lineage, Math.max(seq + 1, lineage.lives[0]!.from)) - 1, 'reset');
    else await this.#lookForRetention(lineage);
    const last = await edge.replay.last(this.#session);
    if (life !== this.#life) return;
    if (last <= this.#place && this.#heard <= this.sent) this.#goLive();
    else this.#catchUp();
  }

  /** Whether items may have become too old while the device was away. */
  async #lookForRetention(lineage: Lineage): Promise<void> {
    if (this.#since === undefined || this.#greeted) return;
    const facts = await this.#session.edge.shards.facts(this.#shard);
    if (facts.first_seq <= this.#place + 1 || this.#since >= facts.first_at) return;
    this.#place = facts.first_seq - 1;
    this.#gap(cursorAt(lineage, facts.first_seq) - 1, 'retention');
  }

  #gap(to: number, reason: 'retention' | 'quota' | 'reset'): void {
    this.#greet(0);
    this.#session.say(`{"type":"inbox.gap","from":${this.sent},"to":${to},"reason":"${reason}"}`);
    this.sent = Math.max(this.sent, to);
    this.#unacked.push({ cursor: this.sent, upto: this.sent, reply: '', about: undefined });
    this.#announce = true;
    this.#session.edge.tally.gap++;
  }

  #greet(backlog: number): void {
    if (this.#greeted) return;
    this.#greeted = true;
    const lineage = this.#session.edge.shards.get(this.#shard)!;
    this.#session.say(welcome(this.#session, { cursor: this.acked, backlog, lineage }));
  }

  #goLive(): void {
    this.#turn();
    this.#greet(0);
    this.phase = 'live';
    this.#lastAll = this.#lastOwn = this.#place;
    this.#heard = 0;
    if (this.#announce) this.#session.say(`{"type":"inbox.empty","cursor":${this.sent}}`);
    this.#announce = false;
    const { edge } = this.#session;
    if (!this.#session.full) edge.restless.delete(this.#session);
    if (this.#since !== undefined || this.#replays > 0) edge.away.back(this.#session);
    const held = this.#held;
    this.#held = [];
    for (const [one, own] of held) this.live(one, own);
  }

  #catchUp(): void {
    this.phase = 'backfill';
    this.#turn();
    const life = this.#life;
    const { edge } = this.#session;
    edge.tally.backfill++;
    this.#replays++;
    this.#announce = true;
    edge.away
      .claim(this.#session)
      .then(async () => {
        if (life !== this.#life) return;
        const backfill = await edge.replay.open(this.#session, this.#place + 1, {
          item: (one) => life === this.#life && this.#replayed(one),
          ended: (gone) => life === this.#life && this.#ended(gone),
        });
        if (life !== this.#life) return backfill.close();
        this.#backfill = backfill;
        this.#asked = this.#waits = 0;
        this.#pending = backfill.pending;
        this.#overQuota = backfill.pending >= (await edge.shards.facts(this.#shard)).max_per_subject;
        if (life !== this.#life) return;
        this.#greet(backfill.pending);
        this.#pull();
      })
      .catch((error: unknown) => {
        edge.log.warn({ unit: 'inbox', connection: this.#session.connection_id, reason: String(error) }, 'no replay');
      });
  }

  #pull(wait_ms = 0): void {
    const room = this.#session.full ? 0 : this.#session.edge.config.WS_MAX_UNACKED - this.unacked;
    this.#stalled = room <= 0;
    if (this.#stalled) return;
    this.#asked = Math.min(BATCH, room);
    this.#backfill?.pull(this.#asked, wait_ms);
  }

  #replayed({ data, seq, reply, pending }: Replayed): void {
    this.moved = Date.now();
    this.#asked--;
    this.#waits = 0;
    const cursor = item.valid(data) ? item.base(data) + seq : this.sent;
    if (this.#session.edge.shards.surprises(this.#shard, cursor - seq)) {
      this.restart();
      return;
    }
    if (cursor > this.sent) {
      if (this.#overQuota) this.#gap(cursor - 1, 'quota');
      this.#overQuota = false;
      this.#pass({ data, cursor, seq, last: 0, frame: undefined }, reply);
    } else if (seq > this.#place) this.#place = seq;
    this.#pending = pending;
    if (this.#met()) this.#goLive();
    else if (this.#asked === 0) this.#pull(pending === 0 ? WAIT_MS : 0);
  }

  #ended(gone: boolean): void {
    if (!gone && this.#met()) this.#goLive();
    else if (gone || ++this.#waits > WAITS) this.restart();
    else this.#pull(WAIT_MS);
  }

  /** Whether what is heard live goes on from where the replay is. */
  #met(): boolean {
    if (this.#held.length > 0 && this.#held[0]![0].cursor <= this.sent) return true;
    return this.#pending === 0 && this.#heard <= this.sent;
  }

  #pass(one: Live, reply: string): void {
    const { data, cursor } = one;
    this.sent = cursor;
    this.#place = one.seq;
    const expires = item.expiresAt(data);
    if (item.isFromDevice(data, this.#session.device) || (expires !== 0 && expires <= Date.now())) {
      this.#skip(cursor, reply);
      return;
    }
    one.frame ??= item.frame(data, cursor);
    this.#session.say(one.frame);
    const about = item.wantsDelivered(data) ? Buffer.from(data.subarray(0, PREFIX)) : undefined;
    this.#unacked.push({ cursor, upto: cursor, reply, about });
  }

  /** Nothing to say to this device: acknowledged with what comes before it. */
  #skip(cursor: number, reply: string): void {
    const before = this.#unacked.at(-1);
    if (before) {
      before.upto = cursor;
      if (reply) before.reply = reply;
      return;
    }
    this.acked = cursor;
    this.#session.edge.cursors.set(this.#session.device_id, cursor);
    if (reply) this.#session.edge.nc.publish(reply, '+ACK');
  }
}

/** Of the same sender in the same conversation, so that the later one covers the earlier. */
const sameThread = (a: Buffer, b: Buffer): boolean =>
  a.compare(b, 42, 58, 42, 58) === 0 && a.compare(b, 74, 90, 74, 90) === 0;
