/** Routes of tokens: renewal, the keys that verify them, tickets for sockets. */
import type { Tokens } from '../../../shared/auth/tokens.ts';
import type { HandlersOf } from '../http/router.ts';
import type { TokenResponse } from './token-response.ts';

export function createTokenRoutes({
  tokens,
  tokenResponse,
}: {
  tokens: Tokens;
  tokenResponse: TokenResponse;
}): HandlersOf<'auth.refresh' | 'auth.jwks' | 'auth.publicKey' | 'auth.tickets'> {
  return {
    async 'auth.refresh'({ body, browser, ip }) {
      return { status: 200, ...(await tokenResponse.refresh(body.refresh_token, browser, ip)) };
    },

    async 'auth.jwks'() {
      const { keys } = await tokens.keys.jwks();
      return { status: 200, data: { keys: keys as Record<string, unknown>[] } };
    },

    async 'auth.publicKey'() {
      return { status: 200, data: { public_key: await tokens.keys.publicKeyPem() } };
    },

    async 'auth.tickets.create'({ me }) {
      return { status: 201, data: await tokens.issueTicket(me) };
    },
  };
}
