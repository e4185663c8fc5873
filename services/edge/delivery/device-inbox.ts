/**
 * Runs the state machine of one connected device's inbox:
 *
 *   starting ──nothing is newer than the device's cursor──────────▶ live
 *       └──something is──▶ backfill ──the replay meets live items──▶ live
 *   live ──an item is missing (Nats-Last-Sequence)──▶ backfill, from the last item that was sent
 *   live ──the device reads or acknowledges too slowly──▶ behind ──there is room again──▶ backfill
 *   any  ──NATS reconnected, the cursor map changed, or nothing went on for a while──▶ starting
 *   any  ──the connection closes──▶ closed
 *
 * Live items come by core subscription and cost no JetStream work. Those that come while the inbox is not live are kept if they
 * are few, so that the replay has something to meet. Items are sent in the order of their cursors; what was sent is never sent
 * again on the same connection.
 */
import { shardOf } from '../../../shared/ids.ts';
import type { DeviceCursor } from './cursor-writer.ts';
import type { DeviceOutput, OutputListener } from './device-output.ts';
import { DeviceProgress } from './device-progress.ts';
import { InboxFrames } from './inbox-frames.ts';
import type { InboxOptions } from './inbox-options.ts';
import { type LiveItem, LiveItems } from './live-items.ts';
import { prepareReplay, Replay } from './replay.ts';
import { findResumePoint } from './resume-point.ts';

/** An inbox that waited for room longer than this is restarted: items may have become too old meanwhile. */
const STALE_MS = 60_000;
/** If a phase makes no progress for this long (the broker did not answer), housekeeping restarts the inbox. */
const NO_PROGRESS_MS = 8_000;

export class DeviceInbox implements OutputListener {
  readonly shard: number;
  readonly output: DeviceOutput;
  readonly progress: DeviceProgress;
  phase: 'starting' | 'backfill' | 'live' | 'behind' | 'closed' = 'starting';
  readonly #options: InboxOptions;
  readonly #frames: InboxFrames;
  readonly #live: LiveItems;
  /** Incremented on every phase change; async work started under an older value discards its result. */
  #phaseNumber = 0;
  /** When the phase began or last made progress. */
  #progressAt = Date.now();
  #replay: Replay | undefined;
  /** The device may have a durable, which is deleted once the inbox is live. */
  #mayHaveDurable = false;

  constructor(options: InboxOptions, output: DeviceOutput) {
    this.#options = options;
    this.output = output;
    this.shard = shardOf(output.user_id, options.config.INBOX_SHARDS);
    this.progress = new DeviceProgress(options, output);
    this.#frames = new InboxFrames(options, output, this.progress, this.shard);
    this.#live = new LiveItems(options.config.WS_MAX_HEARD);
    output.listener = this;
  }

  /** Items that may be sent now. */
  get #room(): number {
    return this.output.isFull ? 0 : this.#options.config.WS_MAX_UNACKED - this.progress.unacknowledged;
  }

  /** @param acknowledged how far the device has got, if it ever acknowledged anything */
  start(acknowledged: DeviceCursor | undefined): void {
    if (acknowledged) this.progress.restore(acknowledged);
    this.#mayHaveDurable = acknowledged !== undefined;
    this.restart();
  }

  /** Finds the device's resume point again and goes on from there. */
  restart(): void {
    if (this.phase === 'closed') return;
    this.#enter('starting');
    this.#live.clear();
    const { log } = this.#options;
    const phaseNumber = this.#phaseNumber;
    this.#resume(phaseNumber).catch((error: unknown) => {
      if (phaseNumber !== this.#phaseNumber) return;
      const { device_id } = this.output;
      log.warn({ unit: 'inbox', device_id, reason: String(error) }, 'the resume point was not found; trying again');
    });
  }

  /** Ends the inbox, when nothing can be sent any more. */
  onClosed(): void {
    if (this.phase === 'closed') return;
    this.#enter('closed');
    this.#live.clear();
    if (!this.#options.revocations.has(this.output.session_id)) this.progress.save();
  }

  /** Takes an item that came by core subscription. @param isOwn it is addressed to this device alone */
  receiveLive(liveItem: LiveItem, isOwn: boolean): void {
    if (liveItem.cursor <= this.progress.sentCursor || this.phase === 'closed') return;
    if (this.#options.cursorMaps.isUnknownGeneration(this.shard, liveItem.cursor - liveItem.seq)) {
      this.restart();
      return;
    }
    if (this.phase === 'live') {
      if (this.#live.isMissingBefore(liveItem, isOwn)) {
        this.#options.counts.gap++;
        this.#startReplay();
      } else if (this.#room <= 0) {
        this.#enter('behind');
      } else {
        this.#live.setLast(liveItem, isOwn);
        this.progress.deliver(liveItem, '');
        return;
      }
    }
    this.#live.add(liveItem, isOwn, this.phase !== 'behind');
  }

  /** @returns true when the device had not acknowledged as much before */
  acknowledge(cursor: number): boolean {
    const isNew = this.progress.acknowledge(cursor);
    this.onRoom();
    return isNew;
  }

  /** Goes on with what waits for room, once half of the room is free. */
  onRoom(): void {
    const isWaiting = this.phase === 'behind' || this.#replay?.isWaitingForRoom;
    if (!isWaiting || this.#room < this.#options.config.WS_MAX_UNACKED / 2) return;
    if (Date.now() - this.#progressAt > STALE_MS) this.restart();
    else if (this.phase === 'behind') this.#startReplay();
    else this.#replay?.resume();
  }

  /** Called by housekeeping: sends a delayed `inbox.empty`, and restarts an inbox without progress. */
  checkProgress(now: number): void {
    const isEmptyDue = this.phase === 'live' && this.#frames.isEmptyDelayed;
    if (isEmptyDue && this.#frames.sendEmptyIfDue()) this.#options.needsAttention.delete(this);
    const isWorking = this.phase === 'starting' || (this.phase === 'backfill' && !this.#replay?.isWaitingForRoom);
    if (isWorking && now - this.#progressAt > NO_PROGRESS_MS) this.restart();
  }

  async #resume(phaseNumber: number): Promise<void> {
    const { cursorMaps, consumers } = this.#options;
    const cursorMap = await cursorMaps.waitForCurrent(this.shard);
    if (phaseNumber !== this.#phaseNumber) return;
    const point = await findResumePoint(this.#options, this.output, cursorMap, this.progress.resumeFrom);
    if (phaseNumber !== this.#phaseNumber) return;
    this.progress.resumeAt(point);
    if (point.gap) this.#frames.sendGap(point.gap.to, point.gap.reason);
    const lastSeq = await consumers.findLastSequence(this.output);
    if (phaseNumber !== this.#phaseNumber) return;
    this.#live.setTarget(lastSeq);
    if (this.#live.hasNothingAfter(this.progress)) this.#goLive();
    else this.#startReplay();
  }

  #startReplay(): void {
    this.#enter('backfill');
    this.#frames.expectEmpty();
    this.#mayHaveDurable = true;
    const { counts, log } = this.#options;
    counts.backfill++;
    this.#runReplay(this.#phaseNumber).catch((error: unknown) => {
      const { device_id } = this.output;
      log.warn({ unit: 'replay', device_id, reason: String(error) }, 'the replay failed; housekeeping restarts it');
    });
  }

  /** Replays what the device missed until it meets the live items, or until the phase changes. */
  async #runReplay(phaseNumber: number): Promise<void> {
    const isCancelled = (): boolean => phaseNumber !== this.#phaseNumber;
    const backlog = await prepareReplay(this.#options, this.output, this.progress.sentSeq + 1, isCancelled);
    if (!backlog || isCancelled()) return;
    const replay = new Replay(this.#options.consumers.subscribe(this.output), backlog);
    this.#replay = replay;
    this.#frames.sendWelcome(replay.pending);
    while (!isCancelled()) {
      this.#progressAt = Date.now();
      if (replay.needsPull && this.#room <= 0) {
        await replay.waitForRoom();
        continue;
      }
      const { items, ended } = await replay.next(this.#room);
      if (isCancelled()) return;
      for (const replayed of items) {
        const { cursor, seq, reply, pending } = replayed;
        if (this.#options.cursorMaps.isUnknownGeneration(this.shard, cursor - seq)) return this.restart();
        if (cursor <= this.progress.sentCursor) {
          this.progress.skipTo(seq);
        } else {
          if (replay.takeIsOverQuota()) this.#frames.sendGap(cursor - 1, 'quota');
          this.progress.deliver(replayed, reply);
        }
        if (this.#live.areMetBy(this.progress, pending === 0)) return this.#goLive();
      }
      if (ended && ended !== 'gone' && this.#live.areMetBy(this.progress, replay.pending === 0)) return this.#goLive();
      if (ended && ended !== 'empty') return this.restart();
    }
  }

  #goLive(): void {
    this.#enter('live');
    this.#frames.sendWelcome(0);
    const kept = this.#live.goLive(this.progress.sentSeq);
    const { scheduler, needsAttention } = this.#options;
    if (!this.#frames.sendEmptyIfDue()) needsAttention.add(this);
    if (this.#mayHaveDurable) scheduler.scheduleDeletion(this.output);
    this.#mayHaveDurable = false;
    for (const [liveItem, isOwn] of kept) this.receiveLive(liveItem, isOwn);
  }

  #enter(phase: DeviceInbox['phase']): void {
    this.progress.setLive(phase === 'live');
    this.phase = phase;
    this.#phaseNumber++;
    this.#progressAt = Date.now();
    if (this.#replay) {
      this.#replay.close();
      this.progress.forgetDurable();
    }
    this.#replay = undefined;
    const { needsAttention } = this.#options;
    if (phase === 'closed' || phase === 'live') needsAttention.delete(this);
    else needsAttention.add(this);
  }
}
