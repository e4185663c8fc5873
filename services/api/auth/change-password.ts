/** Changes the password of an account and ends its other sessions. */
import { endSessions } from '../../../shared/auth/sessions.ts';
import type { Config } from '../../../shared/config/index.ts';
import { ApiError } from '../../../shared/contract/errors.ts';
import type { Database } from '../../../shared/db/database.ts';
import type { PersonEvent } from '../../../shared/pipeline/person-event.ts';
import type { HandlersOf } from '../http/router.ts';
import type { ConfirmPassword } from './confirm-password.ts';
import { checkPassword } from './password-rules.ts';
import type { Passwords } from './passwords.ts';

interface Deps {
  config: Config;
  db: Database;
  passwords: Passwords;
  confirmPassword: ConfirmPassword;
  announceChange(user_id: string, event: PersonEvent): Promise<void>;
}

export function createChangePassword(deps: Deps): HandlersOf<'auth.changePassword'> {
  const { config, db, passwords, confirmPassword, announceChange } = deps;
  return {
    async 'auth.changePassword'({ me, body, ip }) {
      checkPassword(body.new_password, config);
      const old = await confirmPassword(me.user_id, body.old_password, ip);
      const hash = await passwords.hash(body.new_password);
      const ended = await db.transaction(async ({ query }) => {
        const changed = await query(
          'update users set password_hash = $3 where id = $1 and password_hash is not distinct from $2 returning 1',
          [me.user_id, old, hash],
        );
        if (!changed.length)
          throw new ApiError('conflict', 'another request has just changed the password: log in with that one');
        return await endSessions(query, me.user_id, 'password', { except: me.session_id });
      });
      if (ended.length) void announceChange(me.user_id, { ended });
      return { status: 200, data: { revoked: ended.length } };
    },
  };
}
