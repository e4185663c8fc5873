/** The error that every function of the client library throws. */
import type { ErrorBody, ErrorCode } from '../shared/contract/errors.ts';

/** Codes of errors that arise in the client itself, beside those of the server. */
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
    options: { details?: unknown; retry_after_ms?: number | undefined; cause?: unknown } = {},
  ) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = 'SealwireError';
    this.code = code;
    this.details = options.details;
    this.retry_after_ms = options.retry_after_ms;
  }

  /** Makes an error from the body of the server's refusal. */
  static from(body: Partial<ErrorBody>): SealwireError {
    return new SealwireError(body.code ?? 'internal', body.message ?? 'the server gave no reason', {
      details: body.details,
      retry_after_ms: body.retry_after_ms,
    });
  }
}

/** Whether the server refused the access token. */
export const isAuthError = (error: unknown): boolean =>
  error instanceof SealwireError && (error.code === 'unauthenticated' || error.code === 'token_expired');
