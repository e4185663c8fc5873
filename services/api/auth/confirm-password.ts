/** Checks the password of a person who is signed in already, before something that cannot be undone. */
import type { AttemptLimits } from '../../../shared/auth/attempt-limits.ts';
import type { BlindIndex } from '../../../shared/auth/blind-index.ts';
import { ApiError } from '../../../shared/contract/errors.ts';
import type { Database } from '../../../shared/db/database.ts';
import { signedOut } from '../http/errors.ts';
import type { Passwords } from './passwords.ts';

/**
 * An account without a password needs none.
 * @throws {ApiError} `forbidden` for a wrong password, `rate_limited` after too many of them.
 * @returns the hash that the password was compared with; null for an account without a password.
 */
export type ConfirmPassword = (user_id: string, password: string | undefined, ip: string) => Promise<string | null>;

interface Deps {
  db: Database;
  passwords: Passwords;
  limits: AttemptLimits;
  blindIndex: BlindIndex;
}

export function createConfirmPassword({ db, passwords, limits, blindIndex }: Deps): ConfirmPassword {
  return async (user_id, password, ip) => {
    const [row] = await db.query<{ password_hash: string | null }>(
      'select password_hash from users where id = $1 and deleted_at is null',
      [user_id],
    );
    if (!row) throw signedOut();
    if (row.password_hash === null) return null;
    const attempt = await limits.attempt(blindIndex.indexOf('user', user_id), ip);
    if (!(await passwords.verify(row.password_hash, password ?? '')))
      throw new ApiError('forbidden', 'body: password is not the password of the account', {
        details: { field: 'password' },
      });
    await attempt.succeeded();
    return row.password_hash;
  };
}
