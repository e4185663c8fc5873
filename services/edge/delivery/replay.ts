/**
 * Pulls what a device missed from its durable consumer. A pull asks for no more items than the device may have unacknowledged;
 * the inbox asks for the next ones when it has delivered these.
 */
import type { DeviceAddress } from '../../../nats/inbox/backlog.ts';
import type { Config } from '../../../shared/config/index.ts';
import { shardOf } from '../../../shared/ids.ts';
import type { ConsumerScheduler } from '../offline/consumer-scheduler.ts';
import type { DeviceConsumers } from '../offline/device-consumers.ts';
import type { PullSubscription, ReplayedItem } from '../offline/pull-subscription.ts';
import type { StreamFactsReader } from '../offline/stream-facts.ts';

const MAX_BATCH = 256;
const WAIT_MS = 500;
/**
 * Pulls without an item after which the replay is stuck: an item that came live is not in the stream, or the durable does not
 * answer as it should.
 */
const MAX_EMPTY_PULLS = 3;

interface ReplayedItems {
  items: ReplayedItem[];
  /** `empty`: a pull ended early. `stuck`: so did the pulls before it. `gone`: the durable no longer exists. */
  ended: 'empty' | 'stuck' | 'gone' | undefined;
}

interface ReplayParts {
  config: Pick<Config, 'INBOX_SHARDS'>;
  scheduler: ConsumerScheduler;
  consumers: DeviceConsumers;
  streamFacts: StreamFactsReader;
}

/** The items that a durable begins with. */
interface Backlog {
  pending: number;
  /** There are so many that the stream may have dropped older ones. */
  isOverQuota: boolean;
}

/**
 * Brings the device's durable to sequence `from`.
 * @param isCancelled asked once the scheduler lets go of the durable, so that an inbox in another phase does not move it
 * @returns undefined when it was cancelled
 */
export async function prepareReplay(
  { scheduler, consumers, streamFacts, config }: ReplayParts,
  device: DeviceAddress,
  from: number,
  isCancelled: () => boolean,
): Promise<Backlog | undefined> {
  await scheduler.cancelTasks(device);
  if (isCancelled()) return undefined;
  const pending = await consumers.ensureDurable(device, from);
  const { max_per_subject } = await streamFacts.read(shardOf(device.user_id, config.INBOX_SHARDS));
  return { pending, isOverQuota: pending >= max_per_subject };
}

export class Replay {
  readonly #subscription: PullSubscription;
  /** Items that the durable still has after the last one that came. */
  #pending: number;
  /** Items of the current pull that have not come yet. */
  #missing = 0;
  #emptyPulls = 0;
  #waitMs = 0;
  #resume: (() => void) | undefined;
  #isOverQuota: boolean;

  constructor(subscription: PullSubscription, { pending, isOverQuota }: Backlog) {
    this.#subscription = subscription;
    this.#pending = pending;
    this.#isOverQuota = isOverQuota;
  }

  /** Returns whether the durable began over the quota; true only once. */
  takeIsOverQuota(): boolean {
    const isOverQuota = this.#isOverQuota;
    this.#isOverQuota = false;
    return isOverQuota;
  }

  /** Items that the durable still has. */
  get pending(): number {
    return this.#pending;
  }
  /** Everything that was asked for has come, or its pull has ended. */
  get needsPull(): boolean {
    return this.#missing <= 0;
  }
  /** `waitForRoom` was called and has not resolved. */
  get isWaitingForRoom(): boolean {
    return this.#resume !== undefined;
  }

  /** Resolves after the next call of `resume` or `close`. */
  waitForRoom(): Promise<void> {
    return new Promise((resolve) => {
      this.#resume = resolve;
    });
  }

  resume(): void {
    // Items may be due since the device made the replay wait: the next pull is to say at once when there is none.
    this.#waitMs = 0;
    this.#resume?.();
    this.#resume = undefined;
  }

  /**
   * Resolves with the items that have come, as soon as there are any. Asks for as many as fit into `room` (which is positive)
   * when everything that was asked for before has come.
   */
  async next(room: number): Promise<ReplayedItems> {
    if (this.needsPull) {
      this.#missing = Math.min(MAX_BATCH, room);
      this.#subscription.pull(this.#missing, this.#waitMs);
    }
    const { items, ended } = await this.#subscription.receive();
    if (items.length) {
      this.#missing -= items.length;
      this.#pending = items.at(-1)!.pending;
      this.#emptyPulls = 0;
    }
    // A drained durable gets items only as they are stored: let the broker wait for them, instead of asking again and again.
    this.#waitMs = this.#pending === 0 ? WAIT_MS : 0;
    if (!ended) return { items, ended };
    this.#missing = 0;
    if (ended === 'gone') return { items, ended };
    return { items, ended: ++this.#emptyPulls > MAX_EMPTY_PULLS ? 'stuck' : 'empty' };
  }

  close(): void {
    this.#subscription.close();
    this.resume();
  }
}
