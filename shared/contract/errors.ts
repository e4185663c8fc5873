/**
 * The closed set of error codes with their HTTP status, and the error that carries one. HTTP, socket and client library use
 * these codes and no others. `blocked` is reserved for blocked contacts: no call answers it yet.
 */
export const ERROR_STATUS = {
  invalid_request: 400,
  unauthenticated: 401,
  token_expired: 401,
  forbidden: 403,
  not_member: 403,
  blocked: 403,
  not_found: 404,
  conflict: 409,
  device_mismatch: 409,
  device_stale: 410,
  gone: 410,
  too_large: 413,
  unsupported_media: 415,
  code_invalid: 422,
  rate_limited: 429,
  queue_full: 429,
  internal: 500,
  unavailable: 503,
} as const;

export type ErrorCode = keyof typeof ERROR_STATUS;

export interface ErrorBody {
  code: ErrorCode;
  message: string;
  details?: unknown;
  retry_after_ms?: number;
}

/** An error whose message the caller may read. Any other error that is thrown is answered as `internal`. */
export class ApiError extends Error {
  readonly code: ErrorCode;
  readonly details: unknown;
  readonly retry_after_ms: number | undefined;

  constructor(code: ErrorCode, message: string, options: { details?: unknown; retry_after_ms?: number } = {}) {
    super(message);
    this.name = 'ApiError';
    this.code = code;
    this.details = options.details;
    this.retry_after_ms = options.retry_after_ms;
  }

  get status(): number {
    return ERROR_STATUS[this.code];
  }

  toJSON(): ErrorBody {
    return {
      code: this.code,
      message: this.message,
      ...(this.details === undefined ? {} : { details: this.details }),
      ...(this.retry_after_ms === undefined ? {} : { retry_after_ms: this.retry_after_ms }),
    };
  }
}
