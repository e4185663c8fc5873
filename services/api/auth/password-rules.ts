/** The rule that a new password has to meet. */
import type { Config } from '../../../shared/config/index.ts';
import { ApiError } from '../../../shared/contract/errors.ts';

/** @throws {ApiError} `invalid_request` */
export function checkPassword(password: string, { PASSWORD_MIN_LENGTH }: Pick<Config, 'PASSWORD_MIN_LENGTH'>): void {
  if ([...password].length < PASSWORD_MIN_LENGTH)
    throw new ApiError('invalid_request', `body: password must have at least ${PASSWORD_MIN_LENGTH} characters`, {
      details: { field: 'password' },
    });
}
