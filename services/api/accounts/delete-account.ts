/** Deletes an account: at once everything that names the person or lets the person in; the eraser removes the rest later. */
import { endSessions } from '../../../shared/auth/sessions.ts';
import type { Database, Query } from '../../../shared/db/database.ts';
import { DELETE_ROWS_OF_DEVICES_OF_USER } from '../../../shared/db/device-tables.ts';
import type { PersonEvent } from '../../../shared/pipeline/person-event.ts';
import type { Cookies } from '../http/cookies.ts';
import type { HandlersOf } from '../http/router.ts';

export interface DeleteAccountDeps {
  db: Database;
  cookies: Cookies;
  /** @throws {ApiError} `forbidden` unless it is the password of the account. */
  confirmPassword(user_id: string, password: string | undefined, ip: string): Promise<unknown>;
  /** Tells all processes which sessions ended and which devices were removed. Resolves when partners were told, or soon. */
  announceChange(user_id: string, event: PersonEvent): Promise<void>;
  /** Makes the eraser look for deleted accounts now. */
  startErasing(): void;
}

/** The row of the user stays, emptied, so that its id and number are never given to another person. */
const STATEMENTS = [
  `update users set deleted_at = now(), password_hash = null, username = null, name_sealed = null, bio = null,
     birthdate_sealed = null, avatar_url = null where id = $1`,
  'delete from identifiers where user_id = $1',
  `update devices set deleted_at = coalesce(deleted_at, now()), name = '', push = null, identity_key = null,
     signing_key = null, registration_id = null where user_id = $1`,
  ...DELETE_ROWS_OF_DEVICES_OF_USER,
  'delete from key_backups where user_id = $1',
  'delete from refresh_tokens where session_id in (select id from sessions where user_id = $1)',
  'update sessions set ip = null where user_id = $1',
  // The payment request itself belongs to its conversation and stays.
  'update payment_attachments set attached_by = null where attached_by = $1',
];

/** @returns the devices that the person had, and the sessions that ended. */
async function deleteAccount(query: Query, user_id: string): Promise<Required<PersonEvent>> {
  // This lock comes first. A log-in that holds it ends before, and its session is ended below; a later log-in finds no account.
  await query('select 1 from users where id = $1 for no key update', [user_id]);
  // Devices are locked before sessions, in the same order as when a single device is deleted, so that no deadlock can arise.
  const devices = await query<{ id: string }>(
    'select id from devices where user_id = $1 and deleted_at is null order by id for no key update',
    [user_id],
  );
  const ended = await endSessions(query, user_id, 'account');
  for (const statement of STATEMENTS) await query(statement, [user_id]);
  return { removed: devices.map(({ id }) => id), ended };
}

export function createDeleteAccount(deps: DeleteAccountDeps): HandlersOf<'accounts.delete'> {
  const { db, cookies, confirmPassword, announceChange, startErasing } = deps;
  return {
    async 'accounts.delete'({ me, body, ip }) {
      await confirmPassword(me.user_id, body.password, ip);
      const event = await db.transaction(({ query }) => deleteAccount(query, me.user_id));
      // The eraser runs now, and again once partners were told: the notice to them is an item in this inbox too.
      void announceChange(me.user_id, event).then(startErasing, startErasing);
      startErasing();
      return { status: 200, data: { revoked: event.ended.length }, cookies: cookies.clear() };
    },
  };
}
