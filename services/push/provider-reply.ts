/** Describes how an attempt at a push provider ended, and reads that from replies and errors. */
import { retryAfterMs } from '../../shared/retry-after.ts';

/** `dead`: the provider does not know the target any more. */
export type SendResult =
  | { is: 'ok' }
  | { is: 'dead'; reason: string }
  | { is: 'failed'; reason: string; retry_after_ms?: number };

/** A failure that may pass; `retryAfter` is the header of the reply. */
export function failed(reason: string, retryAfter?: string | string[]): SendResult {
  const retry_after_ms = retryAfterMs(retryAfter, Date.now());
  return { is: 'failed', reason, ...(retry_after_ms === undefined ? {} : { retry_after_ms }) };
}

/** Names an error by its code or class, without what was sent and to whom: the reason is logged. */
export function reasonOf(error: unknown): string {
  const { name, code, cause } = (error ?? {}) as { name?: string; code?: unknown; cause?: unknown };
  return String(code ?? (cause as { code?: unknown } | undefined)?.code ?? name ?? 'unknown');
}
