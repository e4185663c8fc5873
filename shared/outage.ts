import { ApiError } from './contract/errors.ts';

const CODES = new Set([
  'ECONNREFUSED',
  'ECONNRESET',
  'EPIPE',
  'ETIMEDOUT',
  'ENOTFOUND',
  'EAI_AGAIN',
  '57P01',
  '57P02',
  '57P03',
  '53300',
]);
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
export function isOutage(error: unknown): boolean {
  for (
    let e = error as { code?: unknown; name?: string; message?: string; cause?: unknown } | undefined;
    e;
    e = e.cause as typeof e
  ) {
    if (e instanceof ApiError) return e.code === 'unavailable';
    const code = String(e.code ?? '');
    if (CODES.has(code) || code.startsWith('08') || NAMES.has(e.name ?? '')) return true;
    if (/terminat|timeout exceeded when trying to connect|Connection ended|is not queryable/i.test(e.message ?? ''))
      return true;
  }
  return false;
}
