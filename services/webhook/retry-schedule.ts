/** Says when a failed delivery is attempted again. */
import type { Config } from '../../shared/config/index.ts';

type RetryConfig = Pick<
  Config,
  'WEBHOOK_RETRY_SCHEDULE_SEC' | 'WEBHOOK_RETRY_JITTER_PERCENT' | 'WEBHOOK_RETRY_AFTER_MAX_SEC'
>;

/**
 * Returns the pause before the next attempt after `attempts` failed ones, ms; undefined when the schedule is exhausted.
 * The pause is never shorter than the endpoint asked for by Retry-After, up to WEBHOOK_RETRY_AFTER_MAX_SEC.
 * `random`: 0 to 1, spreads the jitter.
 */
export function retryDelayMs(
  config: RetryConfig,
  attempts: number,
  retryAfterMs: number | undefined,
  random = Math.random(),
): number | undefined {
  const sec = config.WEBHOOK_RETRY_SCHEDULE_SEC[attempts];
  if (sec === undefined) return undefined;
  const jitter = (config.WEBHOOK_RETRY_JITTER_PERCENT / 100) * (2 * random - 1);
  const askedMs = Math.min(retryAfterMs ?? 0, config.WEBHOOK_RETRY_AFTER_MAX_SEC * 1_000);
  return Math.round(Math.max(sec * 1_000 * (1 + jitter), askedMs));
}
