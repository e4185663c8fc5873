/**
 * Limits how many attempts each endpoint may have under way. A new endpoint begins with one slot and has all of its slots
 * after its first success; one that fails has one slot until it answers again. Endpoints that fail or are slow share at
 * most half of all slots, and together with those never tried three quarters. So however many such endpoints there are,
 * the healthy ones keep a quarter to themselves.
 */
import type { Config } from '../../shared/config/index.ts';
import type { EndpointHealth, FreeSlots } from './claims.ts';

interface State {
  active: number;
  /** Whether the last attempt failed; undefined before the first one has ended. */
  isFailing: boolean | undefined;
  /** Moving average of the time that attempts take. */
  meanMs: number;
  /** When the last attempt ended, by `performance.now()`. */
  usedAtMs: number;
}
const SLOW_MS = 1_000;
/** An endpoint that nothing was sent to for so long is unknown again. */
const FORGET_MS = 600_000;
const SHARE_NOT_HEALTHY = 0.75;
const SHARE_DEGRADED = 0.5;

export class ConcurrencyLimits {
  readonly #perEndpoint: number;
  readonly #total: number;
  readonly #states = new Map<string, State>();

  constructor(config: Pick<Config, 'WEBHOOK_CONCURRENCY' | 'WEBHOOK_ENDPOINT_CONCURRENCY'>) {
    this.#perEndpoint = config.WEBHOOK_ENDPOINT_CONCURRENCY;
    this.#total = config.WEBHOOK_CONCURRENCY;
  }

  freeSlots(): FreeSlots {
    this.#forgetUnused();
    const active = { healthy: 0, unknown: 0, degraded: 0 };
    const byEndpoint = [...this.#states].map(([id, state]) => {
      const health = healthOf(state);
      active[health] += state.active;
      const most = state.isFailing === false ? this.#perEndpoint : 1;
      return { id, free: Math.max(0, most - state.active), health };
    });
    const remaining = (share: number, taken: number): number => Math.max(0, Math.ceil(this.#total * share) - taken);
    const notHealthy = active.unknown + active.degraded;
    return {
      byEndpoint,
      total: remaining(1, notHealthy + active.healthy),
      notHealthy: remaining(SHARE_NOT_HEALTHY, notHealthy),
      degraded: remaining(SHARE_DEGRADED, active.degraded),
    };
  }

  attemptBegan(endpoint_id: string): void {
    const state = this.#states.get(endpoint_id) ?? { active: 0, isFailing: undefined, meanMs: 0, usedAtMs: 0 };
    this.#states.set(endpoint_id, state);
    state.active++;
  }

  attemptEnded(endpoint_id: string, delivered: boolean, durationMs: number): void {
    const state = this.#states.get(endpoint_id)!;
    state.isFailing = !delivered;
    state.meanMs = state.meanMs * 0.8 + durationMs * 0.2;
    state.usedAtMs = performance.now();
    state.active--;
  }

  #forgetUnused(): void {
    for (const [id, state] of this.#states)
      if (state.active === 0 && performance.now() - state.usedAtMs > FORGET_MS) this.#states.delete(id);
  }
}

function healthOf({ isFailing, meanMs }: State): EndpointHealth {
  if (isFailing === undefined) return 'unknown';
  return isFailing || meanMs > SLOW_MS ? 'degraded' : 'healthy';
}
