import type { ErrorBody, ErrorCode } from '../shared/contract/errors.ts';

/** What can go wrong on this side of the wire, beside the server's closed set. */
export type ClientErrorCode =
  | 'outbox_full'
  | 'closed'
  | 'replaced'
  | 'signed_out'
  | 'verification_needed'
  | 'handler_failed'
  | 'cannot_seal'
  | 'cannot_open'
  | 'key_log_broken';

export class SealwireError extends Error {
  readonly code: ErrorCode | ClientErrorCode;
  readonly details: unknown;
  readonly retry_after_ms: number | undefined;

  constructor(
    code: ErrorCode | ClientErrorCode,
    message: string,
    more: { details?: unknown; retry_after_ms?: number | undefined; cause?: unknown } = {},
  ) {
    super(message, more.cause === undefined ? undefined : { cause: more.cause });
    this.name = 'SealwireError';
    this.code = code;
    this.details = more.details;
    this.retry_after_ms = more.retry_after_ms;
  }

  static from(body: Partial<ErrorBody>): SealwireError {
    return new SealwireError(body.code ?? 'internal', body.message ?? 'the server gave no reason', {
      details: body.details,
      retry_after_ms: body.retry_after_ms,
    });
  }
}

export const isAuthError = (error: unknown): boolean =>
  error instanceof SealwireError && (error.code === 'unauthenticated' || error.code === 'token_expired');
