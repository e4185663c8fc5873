/** The parser of Retry-After reads seconds and dates and ignores everything else. */
import test from 'ava';
import fc from 'fast-check';
import { retryAfterMs } from '../../shared/retry-after.ts';

const now = Date.parse('2026-03-01T12:00:00Z');

test('[W04] Retry-After is read as seconds and as the three forms of an HTTP date', (t) => {
  t.is(retryAfterMs('0', now), 0);
  t.is(retryAfterMs('120', now), 120_000);
  for (const date of ['Sun, 01 Mar 2026 12:01:30 GMT', 'Sunday, 01-Mar-26 12:01:30 GMT', 'Sun Mar  1 12:01:30 2026'])
    t.is(retryAfterMs(date, now), 90_000, date);
  t.is(retryAfterMs('Sun, 01 Mar 2026 11:00:00 GMT', now), 0);
  t.is(retryAfterMs(['7', '8'], now), 7_000);
});

test('[W04] a Retry-After that RFC 9110 does not allow is ignored', (t) => {
  const odd = ['', '-1', '+1', '1.5', '1e3', ' 1', 'soon', '99999999999', '2026-03-01T12:01:30Z', '1 GMT', 'in 5 GMT'];
  const dates = ['Sun, 01 Mar 2026 12:01:30 +0000', 'Sun, 99 Mar 2026 12:01:30 GMT', 'Sun, 01 Mar 2026 25:01:30 GMT'];
  for (const header of [...odd, ...dates, undefined, []]) t.is(retryAfterMs(header, now), undefined, String(header));
});

test('[W04] any valid Retry-After is read as written, and no text gives a negative delay', (t) => {
  fc.assert(
    fc.property(fc.integer({ min: 0, max: 999_999_999 }), (sec) => retryAfterMs(String(sec), now) === sec * 1_000),
  );
  fc.assert(
    fc.property(fc.integer({ min: 0, max: 2_000_000_000 }), (sec) => {
      const date = new Date(now + sec * 1_000).toUTCString();
      return retryAfterMs(date, now) === sec * 1_000;
    }),
  );
  fc.assert(
    fc.property(fc.string(), (text) => {
      const ms = retryAfterMs(text, now);
      return ms === undefined || (Number.isInteger(ms) && ms >= 0);
    }),
  );
  t.pass();
});
