/** The errors with which ingest refuses a command. */
import { ApiError, type ErrorCode } from '../../shared/contract/errors.ts';

/** @throws {ApiError} always */
export const refuse = (code: ErrorCode, message: string, details?: unknown): never => {
  throw new ApiError(code, message, details === undefined ? {} : { details });
};

export const unavailable = (message: string): ApiError =>
  new ApiError('unavailable', message, { retry_after_ms: 1_000 });

/** Refuses a command that needs something which memory does not hold, while Postgres, which may hold it, does not answer. */
export const databaseUnavailable = (): ApiError =>
  unavailable('the database does not answer; send it again with the same client_message_id');
