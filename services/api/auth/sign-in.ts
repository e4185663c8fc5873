/** Begins sessions: on a device of an account, or on the first device of a new account. Every log-in ends here. */
import type { AttemptLimits } from '../../../shared/auth/attempt-limits.ts';
import type { BlindIndex } from '../../../shared/auth/blind-index.ts';
import type { Sessions, StartedSession } from '../../../shared/auth/sessions.ts';
import type { Config } from '../../../shared/config/index.ts';
import { ApiError } from '../../../shared/contract/errors.ts';
import type { LoginBody } from '../../../shared/contract/http/auth.ts';
import type { Transaction } from '../../../shared/db/database.ts';
import type { PersonEvent } from '../../../shared/pipeline/person-event.ts';
import type { Names, NewAccount } from '../accounts/insert-account.ts';
import type { Accounts } from '../accounts/store.ts';
import { hasDevice, refuseTooManyDevices } from '../devices/store.ts';

export const suspended = (): ApiError => new ApiError('forbidden', 'this account is suspended');

/** An account that is to be made. */
export interface AccountDraft {
  id: string;
  names: Names;
  /** Null for a person who logs in by codes only. */
  password_hash: string | null;
  body: NewAccount;
}

export interface SignIn {
  /**
   * Begins a session on that device of the person, or on a new one, inside a transaction that holds the person's row.
   * @throws {ApiError} `conflict` when the person has too many devices.
   */
  onAccount(tx: Transaction, user_id: string, device: LoginBody['device'], ip: string): Promise<StartedSession>;
  /** Makes the account and begins its first session. @throws {ApiError} `conflict` naming what is taken. */
  onNewAccount(tx: Transaction, account: AccountDraft, ip: string): Promise<StartedSession>;
  /** After the commit: tells all processes of new devices, ended sessions and removed devices. */
  announce(session: StartedSession, removed?: readonly string[]): void;
  /** Notes that the person logged in from here, so that wrong passwords from elsewhere do not lock the person out. */
  rememberClient(names: Names, session: StartedSession, ip: string): Promise<void>;
}
interface Deps {
  config: Config;
  accounts: Accounts;
  limits: AttemptLimits;
  blindIndex: BlindIndex;
  sessions: Sessions;
  announceChange(user_id: string, event: PersonEvent): Promise<void>;
}

export function createSignIn({ config, accounts, limits, blindIndex, sessions, announceChange }: Deps): SignIn {
  return {
    async onAccount(tx, user_id, device, ip) {
      if (device.id === undefined || !(await hasDevice(tx.em, user_id, device.id)))
        await refuseTooManyDevices(tx.query, user_id, config.DEVICES_MAX);
      const { id, added } = await accounts.signInDevice(tx, user_id, device);
      const session = await sessions.startSession(tx, user_id, id, ip);
      return { ...session, added };
    },

    async onNewAccount(tx, { id, names, password_hash, body }, ip) {
      return await sessions.startSession(tx, id, await accounts.createAccount(tx, id, names, password_hash, body), ip);
    },

    announce({ holder, ended, added }, removed = []) {
      if (added || ended.length || removed.length) void announceChange(holder.user_id, { ended, removed });
    },

    rememberClient(names, { holder }, ip) {
      const who = Object.entries(names).map(([kind, value]) => blindIndex.indexOf(kind, value));
      return limits.rememberLogin(who, ip, holder.device_id);
    },
  };
}
