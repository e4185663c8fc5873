/** A new password, and the end of an account. */
import type { Limits } from '../../../shared/auth/attempt-limits.ts';
import type { BlindIndex } from '../../../shared/auth/blind-index.ts';
import { endSessions } from '../../../shared/auth/sessions.ts';
import type { Config } from '../../../shared/config/index.ts';
import { ApiError } from '../../../shared/contract/errors.ts';
import type { Database, Query } from '../../../shared/db/database.ts';
import { DELETE_ROWS_OF_DEVICES_OF_USER } from '../../../shared/db/device-tables.ts';
import type { PersonEvent } from '../../../shared/pipeline/person-event.ts';
import { checkPassword } from '../auth/login.ts';
import type { Passwords } from '../auth/passwords.ts';
import { type Entering, signedOut } from '../auth/token-response.ts';
import type { HandlersOf } from '../http/router.ts';

interface Deps {
  config: Config;
  db: Database;
  passwords: Passwords;
  limits: Limits;
  sealer: BlindIndex;
  entering: Entering;
  /** Tells all processes which sessions ended and which devices are gone. Resolves when partners were told, or soon. */
  changed(user_id: string, event: PersonEvent): Promise<void>;
  /** The account is gone; what it leaves behind can be erased. */
  gone(): void;
}

/** The row stays, empty, so that its id and number are never given to anybody else. */
const FAREWELL = [
  `update users set deleted_at = now(), password_hash = null, username = null, name_sealed = null, bio = null,
     birthdate_sealed = null, avatar_url = null where id = $1`,
  'delete from identifiers where user_id = $1',
  `update devices set deleted_at = coalesce(deleted_at, now()), name = '', push = null, identity_key = null,
     signing_key = null, registration_id = null where user_id = $1`,
  ...DELETE_ROWS_OF_DEVICES_OF_USER,
  'delete from key_backups where user_id = $1',
  'delete from refresh_tokens where session_id in (select id from sessions where user_id = $1)',
  'update sessions set ip = null where user_id = $1',
  // The request stays with its conversation.
  'update payment_attachments set attached_by = null where attached_by = $1',
];

export function leaving(deps: Deps): HandlersOf<'accounts.changePassword' | 'accounts.delete'> {
  const { config, db, passwords, limits, sealer, entering, changed, gone } = deps;

  /** @throws {ApiError} `forbidden` unless it is the password, or there is none. @returns the hash it was checked with */
  async function confirm(user_id: string, password: string | undefined, ip: string): Promise<string | null> {
    const [row] = await db.query<{ password_hash: string | null }>(
      'select password_hash from users where id = $1 and deleted_at is null',
      [user_id],
    );
    if (!row) throw signedOut();
    if (row.password_hash === null) return null;
    const guess = await limits.guess(sealer.lookup('user', user_id), ip);
    if (!(await passwords.verify(row.password_hash, password ?? '')))
      throw new ApiError('forbidden', 'this is not the password of the account', { details: { field: 'password' } });
    await guess.right();
    return row.password_hash;
  }

  /** @returns the devices that it had, and its sessions that ended. */
  async function erase(query: Query, user_id: string): Promise<Required<PersonEvent>> {
    // First of all: a log-in under way ends before, and its session with the others; one that comes later finds nobody.
    await query('select 1 from users where id = $1 for no key update', [user_id]);
    // Devices before sessions, as whoever deletes one of them does.
    const devices = await query<{ id: string }>(
      'select id from devices where user_id = $1 and deleted_at is null order by id for no key update',
      [user_id],
    );
    const ended = await endSessions(query, user_id, 'account');
    for (const statement of FAREWELL) await query(statement, [user_id]);
    return { removed: devices.map(({ id }) => id), ended };
  }

  return {
    async 'accounts.changePassword'({ me, body, ip }) {
      checkPassword(body.new_password, config);
      const old = await confirm(me.user_id, body.old_password, ip);
      const hash = await passwords.hash(body.new_password);
      const ended = await db.transaction(async ({ query }) => {
        const changed = await query(
          'update users set password_hash = $3 where id = $1 and password_hash is not distinct from $2 returning 1',
          [me.user_id, old, hash],
        );
        if (!changed.length) throw new ApiError('conflict', 'the password was changed at the same time');
        return await endSessions(query, me.user_id, 'password', { except: me.session_id });
      });
      if (ended.length) void changed(me.user_id, { ended });
      return { status: 200, data: { revoked: ended.length } };
    },

    async 'accounts.delete'({ me, body, ip }) {
      await confirm(me.user_id, body.password, ip);
      const event = await db.transaction(({ query }) => erase(query, me.user_id));
      // Twice: what partners are told of stands in this inbox, too.
      void changed(me.user_id, event).then(gone, gone);
      gone();
      return { status: 200, data: { revoked: event.ended.length }, cookies: entering.forget() };
    },
  };
}
