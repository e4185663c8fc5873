/** The pauses between the attempts of a delivery. */
import test from 'ava';
import { retryDelayMs } from '../../services/webhook/retry-schedule.ts';
import { readConfig } from '../../shared/config/index.ts';
import { retryAfterMs } from '../../shared/retry-after.ts';

const DAY = 24 * 3_600_000;

test('[W04] jitter is at most 20 %, and Retry-After is honoured within bounds in both its forms', (t) => {
  const config = readConfig({});
  t.is(retryDelayMs(config, 1, undefined, 0.5), 5_000);
  t.is(retryDelayMs(config, 2, undefined, 0), 240_000);
  t.is(retryDelayMs(config, 2, undefined, 1), 360_000);
  t.is(retryDelayMs(config, 10, undefined), undefined);
  t.is(retryDelayMs(config, 1, 120_000), 120_000);
  t.is(retryDelayMs(config, 2, 1_000, 0.5), 300_000, 'never sooner than the schedule');
  t.is(retryDelayMs(config, 1, 365 * DAY), DAY, 'nobody keeps us waiting for a year');
  const now = Date.UTC(2026, 0, 1);
  t.is(retryAfterMs('120', now), 120_000);
  t.is(retryAfterMs(new Date(now + 90_000).toUTCString(), now), 90_000);
  t.is(retryAfterMs(new Date(now - 90_000).toUTCString(), now), 0);
  for (const odd of ['', '-1', '1.5', 'soon', '99999999999', undefined]) t.is(retryAfterMs(odd, now), undefined);
});
