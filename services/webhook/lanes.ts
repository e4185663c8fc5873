/**
 * How many attempts each endpoint may have under way. One that fails gets a single lane until it answers again; those
 * that fail or are slow share at most half of all lanes, so that however many they are, the others have the rest.
 */
import type { Config } from '../../shared/config/index.ts';
import type { Room } from './claims.ts';

interface State {
  active: number;
  failing: boolean;
  /** Of recent attempts, ms. */
  mean: number;
  used: number;
}
const SLOW_MS = 1_000;
const FORGET_MS = 600_000;

export class Lanes {
  readonly #usual: number;
  readonly #total: number;
  readonly #states = new Map<string, State>();
  #active = 0;
  #troubled = 0;

  constructor(config: Pick<Config, 'WEBHOOK_CONCURRENCY' | 'WEBHOOK_ENDPOINT_CONCURRENCY'>) {
    this.#usual = config.WEBHOOK_ENDPOINT_CONCURRENCY;
    this.#total = config.WEBHOOK_CONCURRENCY;
  }

  get active(): number {
    return this.#active;
  }

  room(): Room {
    const half = Math.max(0, Math.floor(this.#total / 2) - this.#troubled);
    const each = new Map<string, number>();
    for (const [id, state] of this.#states) {
      const most = state.failing ? 1 : this.#usual;
      const rest = troubled(state) ? Math.min(half, most - state.active) : most - state.active;
      if (rest !== this.#usual) each.set(id, Math.max(0, rest));
    }
    return { usual: this.#usual, each, total: Math.max(0, this.#total - this.#active) };
  }

  begin(endpoint_id: string): void {
    const state = this.#states.get(endpoint_id) ?? { active: 0, failing: false, mean: 0, used: 0 };
    this.#states.set(endpoint_id, state);
    state.active++;
    this.#active++;
    if (troubled(state)) this.#troubled++;
  }

  end(endpoint_id: string, delivered: boolean, ms: number): void {
    const state = this.#states.get(endpoint_id)!;
    if (troubled(state)) this.#troubled -= state.active;
    state.failing = !delivered;
    state.mean = state.mean * 0.8 + ms * 0.2;
    state.used = performance.now();
    state.active--;
    this.#active--;
    if (troubled(state)) this.#troubled += state.active;
  }

  /** Endpoints that nothing was sent to for long. */
  forget(): void {
    for (const [id, state] of this.#states)
      if (state.active === 0 && performance.now() - state.used > FORGET_MS) this.#states.delete(id);
  }
}

const troubled = ({ failing, mean }: State): boolean => failing || mean > SLOW_MS;
