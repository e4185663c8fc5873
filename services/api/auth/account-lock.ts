/** Keeps an account unchanged between the look at it and the session that begins on it. */
import { ApiError } from '../../../shared/contract/errors.ts';
import type { Query } from '../../../shared/db/database.ts';
import type { Account } from '../accounts/store.ts';

/** An account that other requests keep changing is read again this often. */
const MAX_TRIES = 5;

/**
 * Locks the account until the end of the transaction if it is still as it was read: not deleted, not suspended, with that
 * password. A request that ends its sessions waits for the lock, and then ends the session that is about to begin as well.
 * @returns false when the account has changed.
 */
export async function lockIfUnchanged(query: Query, { id, password_hash }: Account): Promise<boolean> {
  const rows = await query(
    `select 1 from users where id = $1 and deleted_at is null and suspended_at is null
       and password_hash is not distinct from $2 for no key update`,
    [id, password_hash],
  );
  return rows.length > 0;
}

/** Calls `attempt` until it returns a value. @throws {ApiError} `unavailable` after MAX_TRIES calls */
export async function retryOnConflict<T>(attempt: () => Promise<T | undefined>): Promise<T> {
  for (let tries = 0; tries < MAX_TRIES; tries++) {
    const result = await attempt();
    if (result !== undefined) return result;
  }
  throw new ApiError('unavailable', 'another request is changing the account: try again', { retry_after_ms: 200 });
}
