/** Accounts, log-in, tokens, devices: what is decided. */
import type { Limits } from '../../shared/auth/limits.ts';
import type { Passwords } from '../../shared/auth/passwords.ts';
import type { Sealer } from '../../shared/auth/sealer.ts';
import type { Sessions, Started } from '../../shared/auth/sessions.ts';
import type { Holder, Tokens } from '../../shared/auth/tokens.ts';
import type { Config } from '../../shared/config/index.ts';
import { ApiError } from '../../shared/contract/errors.ts';
import type { LoggedIn } from '../../shared/contract/people.ts';
import type { Database } from '../../shared/db/database.ts';
import { uuid7 } from '../../shared/ids.ts';
import type { Ended } from '../../shared/pipeline/person-event.ts';
import type { Accounts, Names } from './accounts.ts';
import { type IdentifierKind, normalise, recognise } from './identifiers.ts';
import { decodeCursor, encodeCursor } from './paging.ts';
import type { Handlers } from './router.ts';

export interface PeopleDeps {
  config: Config;
  db: Database;
  accounts: Accounts;
  passwords: Passwords;
  limits: Limits;
  sealer: Sealer;
  sessions: Sessions;
  tokens: Tokens;
  /** Tells all processes that a person's devices are others now, and which sessions ended with that. */
  devicesChanged(user_id: string, ended?: Ended[]): void;
}
type PeopleRoutes =
  | 'ping'
  | 'register'
  | 'login'
  | 'refresh'
  | 'jwks'
  | 'publicKey'
  | 'me'
  | 'devices'
  | 'putKeys'
  | 'ticket';

const IDENTIFIERS: IdentifierKind[] = ['phone', 'email', 'username'];
const signedOut = (): ApiError => new ApiError('unauthenticated', 'this device or account is gone; log in again');

export function people(deps: PeopleDeps): Pick<Handlers, PeopleRoutes> {
  const { config, db, accounts, passwords, limits, sealer, sessions, tokens, devicesChanged } = deps;

  async function loggedIn({ holder, refresh_token }: { holder: Holder; refresh_token: string }): Promise<LoggedIn> {
    const [user, device, access] = await Promise.all([
      accounts.user(holder.user_id),
      accounts.device(holder.device_id),
      tokens.issue(holder),
    ]);
    if (!user || !device) throw signedOut();
    return { user, device, ...access, refresh_token };
  }

  return {
    async ping() {
      return { status: 200, data: { server_version: '0.1.0', server_time: new Date().toISOString() } };
    },

    async register({ body, ip }) {
      const names: Names = {};
      for (const kind of IDENTIFIERS) if (body[kind] !== undefined) names[kind] = normalise(kind, body[kind]);
      if (Object.keys(names).length === 0)
        throw new ApiError('invalid_request', 'body: phone, email or username is missing');
      if ([...body.password].length < config.PASSWORD_MIN_LENGTH)
        throw new ApiError('invalid_request', `body: password must have ${config.PASSWORD_MIN_LENGTH} characters`, {
          details: { field: 'password' },
        });
      const user_id = uuid7();
      let session: Started | undefined;
      await accounts.create(user_id, names, await passwords.hash(body.password), body, async (query, device_id) => {
        session = await sessions.start(query, user_id, device_id, ip);
      });
      return { status: 201, data: await loggedIn(session!) };
    },

    async login({ body, ip }) {
      const named = recognise(body.identifier) ?? { kind: 'username', value: body.identifier };
      const guess = await limits.guess(sealer.lookup(named.kind, named.value), ip);
      const account = await accounts.find(named);
      const right = await passwords.verify(account?.password_hash, body.password);
      if (!account || !right) throw new ApiError('unauthenticated', 'identifier or password is wrong');
      await guess.right();
      if (account.suspended) throw new ApiError('forbidden', 'this account is suspended');
      if (passwords.stale(account.password_hash!))
        await accounts.rehash(account.id, account.password_hash!, await passwords.hash(body.password));
      let added = false;
      const session = await db.transaction(async (query) => {
        const device = await accounts.signIn(query, account.id, body.device);
        added = device.added;
        return sessions.start(query, account.id, device.id, ip);
      });
      if (added || session.ended.length) devicesChanged(account.id, session.ended);
      return { status: 200, data: await loggedIn(session) };
    },

    async refresh({ body, ip }) {
      return { status: 200, data: await sessions.refresh(body.refresh_token, ip) };
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
