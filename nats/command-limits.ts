/**
 * Limits how many commands a person may give in a window: over all sockets, HTTP, addresses and processes together. Each
 * process counts for itself and reports to the others only when a person has used another share of the limit, so a quiet
 * person costs no message. The overrun is what processes have not reported yet: at most one share for each process.
 */
import type { Msg, NatsConnection } from 'nats';
import type { Config } from '../shared/config/index.ts';
import { ApiError } from '../shared/contract/errors.ts';
import { uuid7 } from '../shared/ids.ts';
import { subject } from './topology.ts';

interface Usage {
  /** Commands given here and in other processes. */
  total: number;
  /** Commands given here and not reported to the others yet. */
  unreported: number;
}
/** The message on `subject.commands`. */
interface UsageReport {
  /** The process that sends it. */
  from: string;
  user_id: string;
  /** Windows since 1970. */
  window: number;
  count: number;
}
interface Options {
  nc: NatsConnection;
  config: Pick<Config, 'WS_RATE_LIMIT_MAX_COMMANDS' | 'WS_RATE_LIMIT_WINDOW_SEC'>;
  /** Shares of the limit. */
  shares?: number;
  /** People counted in one window; beyond it the person who began first is dropped. */
  users?: number;
}
export type CommandUsage = 'within' | 'over' | 'far over';

/** A socket whose person has used this many times the limit is closed. */
const FAR_OVER = 3;

export class CommandLimits {
  readonly #nc: NatsConnection;
  readonly #processName = uuid7();
  readonly #limit: number;
  readonly #windowMs: number;
  readonly #share: number;
  readonly #maxUsers: number;
  #window = 0;
  #usages = new Map<string, Usage>();

  constructor({ nc, config, shares = 8, users = 100_000 }: Options) {
    this.#nc = nc;
    this.#limit = config.WS_RATE_LIMIT_MAX_COMMANDS;
    this.#windowMs = config.WS_RATE_LIMIT_WINDOW_SEC * 1_000;
    this.#share = Math.max(1, Math.floor(this.#limit / shares));
    this.#maxUsers = users;
    nc.subscribe(subject.commands, { callback: (error, message) => void (error || this.#handleReport(message)) });
  }

  /** Counts one command and says how much of the limit its person has used. */
  countCommand(user_id: string): CommandUsage {
    const usage = this.#usageOf(user_id);
    usage.total++;
    if (++usage.unreported >= this.#share) this.#report(user_id, usage);
    if (usage.total <= this.#limit) return 'within';
    return usage.total <= FAR_OVER * this.#limit ? 'over' : 'far over';
  }

  /** Counts one command. @throws {ApiError} `rate_limited` when the limit is used up */
  countCommandOrThrow(user_id: string): void {
    if (this.countCommand(user_id) !== 'within') throw this.limitError();
  }

  /** The error for a person who is over the limit, with the time until the next window. */
  limitError(): ApiError {
    const message = `too many commands: a person may give ${this.#limit} in ${this.#windowMs / 1_000} s; try again later`;
    return new ApiError('rate_limited', message, { retry_after_ms: this.#windowMs - (Date.now() % this.#windowMs) });
  }

  #usageOf(user_id: string): Usage {
    const window = Math.floor(Date.now() / this.#windowMs);
    if (window !== this.#window) {
      this.#window = window;
      this.#usages = new Map();
    }
    let usage = this.#usages.get(user_id);
    if (!usage) {
      usage = { total: 0, unreported: 0 };
      this.#usages.set(user_id, usage);
      if (this.#usages.size > this.#maxUsers) this.#usages.delete(this.#usages.keys().next().value!);
    }
    return usage;
  }

  #report(user_id: string, usage: Usage): void {
    const report: UsageReport = {
      from: this.#processName,
      user_id,
      window: this.#window,
      count: usage.unreported,
    };
    usage.unreported = 0;
    if (!this.#nc.isClosed()) this.#nc.publish(subject.commands, JSON.stringify(report));
  }

  #handleReport(message: Msg): void {
    const { from, user_id, window, count } = message.json<UsageReport>();
    if (from === this.#processName || window !== Math.floor(Date.now() / this.#windowMs)) return;
    this.#usageOf(user_id).total += count;
  }
}
