/** Tells an engine that is out of reach, after which work is tried again, from work that is at fault. */
import { ApiError } from './contract/errors.ts';

const CODES = new Set([
  'ECONNREFUSED',
  'ECONNRESET',
  'EPIPE',
  'ETIMEDOUT',
  'ENOTFOUND',
  'EAI_AGAIN',
  // Read-only: a standby that is not the primary yet. Lock not available: another transaction holds it.
  '25006',
  '55P03',
]);
/**
 * Classes of SQLSTATE that do not blame the statement: connection, rollback in favour of another transaction, out of disk,
 * memory or connections, cancelled by an operator, I/O. A message whose handling meets them is not a poison message.
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

/** Whether an engine was out of reach, so that the work is tried again for as long as it takes; false when the work is at fault. */
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
