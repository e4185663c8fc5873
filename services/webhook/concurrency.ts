/**
 * How many attempts each endpoint may have under way. A new one begins with a single lane and has all of its lanes from its
 * first success; one that fails has a single lane until it answers again. Those that fail or are slow share at most half of
 * all lanes, and with those that nothing is known of yet three quarters; so however many they are, the others have the rest.
 */
import type { Config } from '../../shared/config/index.ts';
import type { Room, Standing } from './claims.ts';

interface State {
  active: number;
  /** Undefined before anything is known. */
  failing: boolean | undefined;
  /** Of recent attempts, ms. */
  mean: number;
  used: number;
}
const SLOW_MS = 1_000;
const FORGET_MS = 600_000;

export class ConcurrencyLimits {
  readonly #usual: number;
  readonly #total: number;
  readonly #states = new Map<string, State>();

  constructor(config: Pick<Config, 'WEBHOOK_CONCURRENCY' | 'WEBHOOK_ENDPOINT_CONCURRENCY'>) {
    this.#usual = config.WEBHOOK_ENDPOINT_CONCURRENCY;
    this.#total = config.WEBHOOK_CONCURRENCY;
  }

  room(): Room {
    this.#forget();
    const active = { well: 0, fresh: 0, ill: 0 };
    const each = [...this.#states].map(([id, state]) => {
      const standing = standingOf(state);
      active[standing] += state.active;
      const most = state.failing === false ? this.#usual : 1;
      return { id, room: Math.max(0, most - state.active), standing };
    });
    const rest = (part: number, taken: number): number => Math.max(0, Math.ceil(this.#total * part) - taken);
    const doubtful = active.fresh + active.ill;
    return {
      each,
      total: rest(1, doubtful + active.well),
      fresh: rest(0.75, doubtful),
      ill: rest(0.5, active.ill),
    };
  }

  begin(endpoint_id: string): void {
    const state = this.#states.get(endpoint_id) ?? { active: 0, failing: undefined, mean: 0, used: 0 };
    this.#states.set(endpoint_id, state);
    state.active++;
  }

  end(endpoint_id: string, delivered: boolean, ms: number): void {
    const state = this.#states.get(endpoint_id)!;
    state.failing = !delivered;
    state.mean = state.mean * 0.8 + ms * 0.2;
    state.used = performance.now();
    state.active--;
  }

  /** Endpoints that nothing was sent to for long. */
  #forget(): void {
    for (const [id, state] of this.#states)
      if (state.active === 0 && performance.now() - state.used > FORGET_MS) this.#states.delete(id);
  }
}

function standingOf({ failing, mean }: State): Standing {
  if (failing === undefined) return 'fresh';
  return failing || mean > SLOW_MS ? 'ill' : 'well';
}
