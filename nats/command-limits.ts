/**
 * How many commands a person may give in a window: over all sockets, HTTP, addresses and processes together. Each process
 * counts for itself and tells the others only when a person has used another share of the limit, so somebody quiet costs
 * no message. What processes have not told yet is the overrun: at most one share for each process.
 */
import type { Msg, NatsConnection } from 'nats';
import type { Config } from '../shared/config/index.ts';
import { ApiError } from '../shared/contract/errors.ts';
import { uuid7 } from '../shared/ids.ts';
import { subject } from './topology.ts';

interface Used {
  /** Here and elsewhere. */
  all: number;
  /** Here, and not told to the others yet. */
  untold: number;
}
interface Told {
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
  /** People counted in one window; of more, those who began first are forgotten. */
  users?: number;
}
export type Spent = 'within' | 'over' | 'far over';

/** That many times the limit, and a socket is closed. */
const PATIENCE = 3;

export class CommandLimits {
  readonly #nc: NatsConnection;
  readonly #name = uuid7();
  readonly #limit: number;
  readonly #windowMs: number;
  readonly #share: number;
  readonly #users: number;
  #window = 0;
  #used = new Map<string, Used>();

  constructor({ nc, config, shares = 8, users = 100_000 }: Options) {
    this.#nc = nc;
    this.#limit = config.WS_RATE_LIMIT_MAX_COMMANDS;
    this.#windowMs = config.WS_RATE_LIMIT_WINDOW_SEC * 1_000;
    this.#share = Math.max(1, Math.floor(this.#limit / shares));
    this.#users = users;
    nc.subscribe(subject.commands, { callback: (error, message) => void (error || this.#hear(message)) });
  }

  /** Counts one command. */
  spend(user_id: string): Spent {
    const used = this.#of(user_id);
    used.all++;
    if (++used.untold >= this.#share) this.#tell(user_id, used);
    if (used.all <= this.#limit) return 'within';
    return used.all <= PATIENCE * this.#limit ? 'over' : 'far over';
  }

  /** Counts one command. @throws {ApiError} `rate_limited` when the limit is used up */
  take(user_id: string): void {
    if (this.spend(user_id) !== 'within') throw this.refusal();
  }

  refusal(): ApiError {
    const about = `${this.#limit} commands in ${this.#windowMs / 1_000} s are allowed to a person`;
    return new ApiError('rate_limited', about, { retry_after_ms: this.#windowMs - (Date.now() % this.#windowMs) });
  }

  #of(user_id: string): Used {
    const window = Math.floor(Date.now() / this.#windowMs);
    if (window !== this.#window) {
      this.#window = window;
      this.#used = new Map();
    }
    let used = this.#used.get(user_id);
    if (!used) {
      used = { all: 0, untold: 0 };
      this.#used.set(user_id, used);
      if (this.#used.size > this.#users) this.#used.delete(this.#used.keys().next().value!);
    }
    return used;
  }

  #tell(user_id: string, used: Used): void {
    const told: Told = { from: this.#name, user_id, window: this.#window, count: used.untold };
    used.untold = 0;
    if (!this.#nc.isClosed()) this.#nc.publish(subject.commands, JSON.stringify(told));
  }

  #hear(message: Msg): void {
    const { from, user_id, window, count } = message.json<Told>();
    if (from === this.#name || window !== Math.floor(Date.now() / this.#windowMs)) return;
    this.#of(user_id).all += count;
  }
}
