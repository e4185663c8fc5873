/** When a delivery is tried again. */
import type { Config } from '../../shared/config/index.ts';

export type Schedule = Pick<
  Config,
  'WEBHOOK_RETRY_SCHEDULE_SEC' | 'WEBHOOK_RETRY_JITTER_PERCENT' | 'WEBHOOK_RETRY_AFTER_MAX_SEC'
>;

/**
 * Milliseconds until the next attempt after `attempts` failed ones, undefined after the last one. Never before the
 * endpoint asked for (`retryAfterMs`), within bounds. `random`: 0 to 1.
 */
export function pauseMs(
  config: Schedule,
  attempts: number,
  retryAfterMs: number | undefined,
  random = Math.random(),
): number | undefined {
  const sec = config.WEBHOOK_RETRY_SCHEDULE_SEC[attempts];
  if (sec === undefined) return undefined;
  const jitter = (config.WEBHOOK_RETRY_JITTER_PERCENT / 100) * (2 * random - 1);
  const asked = Math.min(retryAfterMs ?? 0, config.WEBHOOK_RETRY_AFTER_MAX_SEC * 1_000);
  return Math.round(Math.max(sec * 1_000 * (1 + jitter), asked));
}

/** Of `Retry-After`: seconds or an HTTP date (RFC 9110 §10.2.3). */
export function retryAfterMs(header: string | undefined, now: number): number | undefined {
  if (!header) return undefined;
  if (/^\d{1,9}$/.test(header)) return Number(header) * 1_000;
  const at = /GMT$/.test(header) ? Date.parse(header) : Number.NaN;
  return Number.isNaN(at) ? undefined : Math.max(0, at - now);
}
