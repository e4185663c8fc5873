/** Me, my tickets, the keys of the server. */
import type { Tokens } from '../../../shared/auth/tokens.ts';
import { signedOut } from '../auth/token-response.ts';
import type { HandlersOf } from '../http/router.ts';
import type { Accounts } from './store.ts';

export interface PeopleDeps {
  accounts: Accounts;
  tokens: Tokens;
}

export function people({
  accounts,
  tokens,
}: PeopleDeps): HandlersOf<'server' | 'auth.jwks' | 'auth.publicKey' | 'auth.tickets' | 'accounts.get'> {
  return {
    async 'server.ping'() {
      return { status: 200, data: { server_version: '0.1.0', server_time: new Date().toISOString() } };
    },

    async 'auth.jwks'() {
      const { keys } = await tokens.keys.jwks();
      return { status: 200, data: { keys: keys as Record<string, unknown>[] } };
    },

    async 'auth.publicKey'() {
      return { status: 200, data: { public_key: await tokens.keys.pem() } };
    },

    async 'accounts.get'({ me }) {
      const user = await accounts.user(me.user_id);
      if (!user) throw signedOut();
      return { status: 200, data: user };
    },

    async 'auth.tickets.create'({ me }) {
      return { status: 201, data: await tokens.issueTicket(me) };
    },
  };
}
