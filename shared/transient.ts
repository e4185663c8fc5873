import { ApiError } from './contract/errors.ts';

const CODES = new Set([
  'ECONNREFUSED',
  'ECONNRESET',
  'EPIPE',
  'ETIMEDOUT',
  'ENOTFOUND',
  'EAI_AGAIN',
  // Read-only: a standby that is not the primary yet. Somebody else holds a lock.
  '25006',
  '55P03',
]);
/**
 * Classes of SQLSTATE that say nothing about the statement: connection, rolled back for another transaction's sake, out of
 * disk, memory or connections, stopped by an operator, I/O. A message that meets them is no poison.
 */
const CLASSES = new Set(['08', '40', '53', '57', '58']);
const NAMES = new Set([
  'TimeoutError',
  'NoRespondersError',
  'ClosedConnectionError',
  'DrainingConnectionError',
  'RequestError',
  'ConnectionException',
  'PublishError',
]);

/** Whether an engine was out of reach (try again for as long as it takes) rather than the work at fault. */
export function isTransient(error: unknown): boolean {
  for (
    let e = error as { code?: unknown; name?: string; message?: string; cause?: unknown } | undefined;
    e;
    e = e.cause as typeof e
  ) {
    if (e instanceof ApiError) return e.code === 'unavailable';
    const code = String(e.code ?? '');
    const state = code.length === 5 && CLASSES.has(code.slice(0, 2));
    if (state || CODES.has(code) || NAMES.has(e.name ?? '')) return true;
    if (
      /terminat|timeout exceeded when trying to connect|Connection ended|is not queryable|Query read timeout/i.test(
        e.message ?? '',
      )
    )
      return true;
  }
  return false;
}
