/** Refuses what is not there, in the words of webhook endpoints. */
import { ApiError } from '../../../shared/contract/errors.ts';

export const noSuchEndpoint = (): ApiError => new ApiError('not_found', 'there is no such endpoint');

/** @throws {ApiError} `not_found` for undefined */
export function requireEndpoint<T>(endpoint: T | undefined): T {
  if (endpoint === undefined) throw noSuchEndpoint();
  return endpoint;
}
/** @throws {ApiError} `conflict`: a disabled endpoint takes no deliveries. */
export function requireEnabled({ enabled }: { enabled: boolean }): void {
  if (!enabled) throw new ApiError('conflict', 'the endpoint is disabled: enable it first');
}
