/** Me, my keys and tickets, the keys of the server. */
import type { Announce } from '../../shared/auth/sessions.ts';
import type { Tokens } from '../../shared/auth/tokens.ts';
import { ApiError } from '../../shared/contract/errors.ts';
import type { Accounts } from './accounts.ts';
import { signedOut } from './entering.ts';
import { decodeCursor, encodeCursor } from './paging.ts';
import type { Handlers } from './router.ts';

export interface PeopleDeps {
  accounts: Accounts;
  tokens: Tokens;
  /** Tells all processes that a person's devices are others now. */
  devicesChanged: Announce;
}
type PeopleRoutes = 'ping' | 'jwks' | 'publicKey' | 'me' | 'devices' | 'putKeys' | 'ticket';

export function people(deps: PeopleDeps): Pick<Handlers, PeopleRoutes> {
  const { accounts, tokens, devicesChanged } = deps;

  return {
    async ping() {
      return { status: 200, data: { server_version: '0.1.0', server_time: new Date().toISOString() } };
    },

    async jwks() {
      const { keys } = await tokens.keys.jwks();
      return { status: 200, data: { keys: keys as Record<string, unknown>[] } };
    },

    async publicKey() {
      return { status: 200, data: { public_key: (await tokens.keys.signing()).pem } };
    },

    async me({ me }) {
      const user = await accounts.user(me.user_id);
      if (!user) throw signedOut();
      return { status: 200, data: user };
    },

    async devices({ id, query: { limit = 50, cursor } }) {
      const [user, found] = await Promise.all([
        accounts.user(id),
        accounts.devices(id, cursor === undefined ? undefined : decodeCursor(cursor), limit + 1),
      ]);
      if (!user) throw new ApiError('not_found', 'there is no such person');
      const items = found.slice(0, limit);
      return {
        status: 200,
        data: { items, next_cursor: found.length > limit ? encodeCursor(items.at(-1)!.id) : null },
      };
    },

    async putKeys({ me, body }) {
      const device = await accounts.putKeys(me.device_id, body);
      if (!device) throw signedOut();
      devicesChanged(me.user_id);
      return { status: 200, data: device };
    },

    async ticket({ me }) {
      return { status: 201, data: await tokens.issueTicket(me) };
    },
  };
}
