/** Errors that several resources answer with, and the error that stands for any other failure. */
import { ApiError } from '../../../shared/contract/errors.ts';
import { isTransient } from '../../../shared/transient.ts';

export const signedOut = (): ApiError =>
  new ApiError('unauthenticated', 'this device or account was removed: log in again');
export const noSuchPerson = (): ApiError => new ApiError('not_found', 'there is no such person');
export const noSuchDevice = (): ApiError => new ApiError('not_found', 'you have no such device');

/** Never shows a client the words of an unexpected error: they may quote a row. */
export function toApiError(error: unknown): ApiError {
  if (error instanceof ApiError) return error;
  if (isTransient(error))
    return new ApiError('unavailable', 'a part of the service cannot be reached: try again', { retry_after_ms: 1_000 });
  return new ApiError('internal', 'internal error');
}
