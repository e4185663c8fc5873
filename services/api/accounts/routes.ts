/** The routes of the account of the person who asks. */

import { signedOut } from '../http/errors.ts';
import type { HandlersOf } from '../http/router.ts';
import { createDeleteAccount, type DeleteAccountDeps } from './delete-account.ts';
import type { Accounts } from './store.ts';

export interface AccountDeps extends DeleteAccountDeps {
  accounts: Accounts;
}

export function accountRoutes(deps: AccountDeps): HandlersOf<'accounts'> {
  return {
    ...createDeleteAccount(deps),

    async 'accounts.get'({ me }) {
      const user = await deps.accounts.findUser(me.user_id);
      if (!user) throw signedOut();
      return { status: 200, data: user };
    },
  };
}
