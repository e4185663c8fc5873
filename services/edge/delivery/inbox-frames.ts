/** Sends the frames about an inbox as a whole: `connection.welcome`, `inbox.gap` and `inbox.empty`. */
import type { InboxGap } from '../../../shared/contract/frames/server.ts';
import type { CursorMaps } from '../offline/cursor-maps.ts';
import type { DeviceOutput } from './device-output.ts';
import type { DeviceProgress } from './device-progress.ts';
import { type WelcomeConfig, welcomeFrame } from './welcome-frame.ts';

export interface InboxFramesOptions {
  config: WelcomeConfig;
  cursorMaps: CursorMaps;
  /** Since housekeeping last added them to the metrics. */
  counts: { gap: number };
}

export class InboxFrames {
  readonly #options: InboxFramesOptions;
  readonly #output: DeviceOutput;
  readonly #progress: DeviceProgress;
  readonly #shard: number;
  #isWelcomed = false;
  /** `inbox.empty` is to be sent once the inbox is live. */
  #expectsEmpty = true;
  #isEmptyDelayed = false;

  constructor(options: InboxFramesOptions, output: DeviceOutput, progress: DeviceProgress, shard: number) {
    this.#options = options;
    this.#output = output;
    this.#progress = progress;
    this.#shard = shard;
  }

  /** The inbox is live, and `inbox.empty` waits until fanout has written again what the broker may have lost. */
  get isEmptyDelayed(): boolean {
    return this.#isEmptyDelayed;
  }

  /** Sends the first frame; later calls do nothing. */
  sendWelcome(backlog: number): void {
    if (this.#isWelcomed) return;
    this.#isWelcomed = true;
    const { config, cursorMaps } = this.#options;
    const cursor = this.#progress.ackedCursor;
    this.#output.send(welcomeFrame(config, this.#output, { cursor, backlog, cursorMap: cursorMaps.get(this.#shard)! }));
  }

  /** Tells the device that it lost everything up to the cursor `to`, and goes on behind that. */
  sendGap(to: number, reason: InboxGap['reason']): void {
    this.sendWelcome(0);
    const from = this.#progress.sentCursor;
    this.#output.send(`{"type":"inbox.gap","from":${from},"to":${to},"reason":"${reason}"}`);
    this.#options.counts.gap++;
    this.#expectsEmpty = true;
    this.#progress.skipGap(to);
  }

  /** A replay begins: `inbox.empty` follows it. */
  expectEmpty(): void {
    this.#expectsEmpty = true;
  }

  /**
   * Sends `inbox.empty` to a device whose inbox is live, if it is due.
   * @returns false while items that the broker lost may still come: housekeeping tries again
   */
  sendEmptyIfDue(): boolean {
    if (!this.#expectsEmpty) return true;
    this.#isEmptyDelayed = !this.#options.cursorMaps.isComplete(this.#shard);
    if (this.#isEmptyDelayed) return false;
    this.#output.send(`{"type":"inbox.empty","cursor":${this.#progress.sentCursor}}`);
    this.#expectsEmpty = false;
    return true;
  }
}
