/** Me, my tickets, the keys of the server. */
import type { Tokens } from '../../../shared/auth/tokens.ts';
import { signedOut } from '../auth/token-response.ts';
import type { Handlers } from '../http/router.ts';
import type { Accounts } from './store.ts';

export interface PeopleDeps {
  accounts: Accounts;
  tokens: Tokens;
}
type PeopleRoutes = 'ping' | 'jwks' | 'publicKey' | 'me' | 'ticket';

export function people({ accounts, tokens }: PeopleDeps): Pick<Handlers, PeopleRoutes> {
  return {
    async ping() {
      return { status: 200, data: { server_version: '0.1.0', server_time: new Date().toISOString() } };
    },

    async jwks() {
      const { keys } = await tokens.keys.jwks();
      return { status: 200, data: { keys: keys as Record<string, unknown>[] } };
    },

    async publicKey() {
      return { status: 200, data: { public_key: await tokens.keys.pem() } };
    },

    async me({ me }) {
      const user = await accounts.user(me.user_id);
      if (!user) throw signedOut();
      return { status: 200, data: user };
    },

    async ticket({ me }) {
      return { status: 201, data: await tokens.issueTicket(me) };
    },
  };
}
