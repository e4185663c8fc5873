/** Parses the HTTP header `Retry-After` (RFC 9110 §10.2.3), for webhooks and push providers alike. */

/** Nine digits are 31 years; a longer number is no delay that anybody means. */
const DELTA_SECONDS = /^\d{1,9}$/;
/** The three forms of an HTTP date (RFC 9110 §5.6.7), all of them in UTC: IMF-fixdate, RFC 850 and asctime. */
const IMF_FIXDATE = /^[A-Z][a-z]{2}, \d{2} [A-Z][a-z]{2} \d{4} \d{2}:\d{2}:\d{2} GMT$/;
const RFC850_DATE = /^[A-Z][a-z]{5,8}, \d{2}-[A-Z][a-z]{2}-\d{2} \d{2}:\d{2}:\d{2} GMT$/;
const ASCTIME_DATE = /^[A-Z][a-z]{2} [A-Z][a-z]{2} [ \d]\d \d{2}:\d{2}:\d{2} \d{4}$/;

/**
 * Returns how long the server asks to wait after `now` (ms since 1970), in ms; 0 for a date that has passed. Of a header that
 * was sent twice the first value counts. Undefined when there is no header, or one that RFC 9110 does not allow: a date is
 * parsed by its form, because `Date.parse` alone accepts nearly any text with a number in it.
 */
export function retryAfterMs(header: string | string[] | undefined, now: number): number | undefined {
  const value = Array.isArray(header) ? header[0] : header;
  if (!value) return undefined;
  if (DELTA_SECONDS.test(value)) return Number(value) * 1_000;
  const at = dateMs(value);
  return Number.isNaN(at) ? undefined : Math.max(0, at - now);
}

function dateMs(value: string): number {
  if (IMF_FIXDATE.test(value) || RFC850_DATE.test(value)) return Date.parse(value);
  // It names no time zone, so `Date.parse` would take the local one.
  return ASCTIME_DATE.test(value) ? Date.parse(`${value} GMT`) : Number.NaN;
}
