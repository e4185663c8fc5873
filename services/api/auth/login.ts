/** Logs people in by identifier and password. */
import type { AttemptLimits } from '../../../shared/auth/attempt-limits.ts';
import type { BlindIndex } from '../../../shared/auth/blind-index.ts';
import type { StartedSession } from '../../../shared/auth/sessions.ts';
import { ApiError } from '../../../shared/contract/errors.ts';
import type { LoginBody } from '../../../shared/contract/http/auth.ts';
import type { Database } from '../../../shared/db/database.ts';
import { recogniseIdentifier } from '../accounts/identifiers.ts';
import type { Account, Accounts } from '../accounts/store.ts';
import type { HandlersOf } from '../http/router.ts';
import { lockIfUnchanged, retryOnConflict } from './account-lock.ts';
import type { Passwords } from './passwords.ts';
import { type SignIn, suspended } from './sign-in.ts';
import type { TokenResponse } from './token-response.ts';

export interface LoginDeps {
  db: Database;
  accounts: Accounts;
  passwords: Passwords;
  limits: AttemptLimits;
  blindIndex: BlindIndex;
  signIn: SignIn;
  tokenResponse: TokenResponse;
}

export function createLogin(deps: LoginDeps): HandlersOf<'auth.login'> {
  const { db, accounts, passwords, limits, blindIndex, signIn, tokenResponse } = deps;

  /** Replaces a hash that was made with other parameters than those configured now. */
  async function renewHash(account: Account, password: string): Promise<void> {
    if (!passwords.isStale(account.password_hash!)) return;
    const hash = await passwords.hash(password);
    if (await accounts.replacePasswordHash(account.id, account.password_hash!, hash)) account.password_hash = hash;
  }

  function beginSession(
    account: Account,
    device: LoginBody['device'],
    ip: string,
  ): Promise<StartedSession | undefined> {
    return db.transaction(async (tx) =>
      (await lockIfUnchanged(tx.query, account)) ? await signIn.onAccount(tx, account.id, device, ip) : undefined,
    );
  }

  return {
    async 'auth.login'({ body, ip }) {
      const named = recogniseIdentifier(body.identifier) ?? { kind: 'username', value: body.identifier };
      const attempt = await limits.attempt(blindIndex.indexOf(named.kind, named.value), ip, body.device.id);
      const session = await retryOnConflict(async () => {
        const account = await accounts.findAccount(named);
        const matches = await passwords.verify(account?.password_hash, body.password);
        if (!account || !matches) throw new ApiError('unauthenticated', 'identifier or password is wrong');
        // Before the checks below: their refusals are not wrong passwords, and must not count as such.
        await attempt.succeeded();
        if (account.isSuspended) throw suspended();
        await renewHash(account, body.password);
        return await beginSession(account, body.device, ip);
      });
      await signIn.rememberClient({ [named.kind]: named.value }, session, ip);
      signIn.announce(session);
      return { status: 200, ...(await tokenResponse.forSession(session, body.cookie)) };
    },
  };
}
