/**
 * Who may connect. The upgrade is answered in the turn in which it arrives (an upgrade that is answered later is closed
 * as it opens, once in a thousand: uNetworking/uWebSockets#1929), so `check` refuses by HTTP what can be decided without
 * waiting, and `identify` and `standing` look up the rest once the socket is open. Look-ups of one turn are one statement.
 */

import type { Revocations } from '../../../nats/revocations.ts';
import { batchLoader } from '../../../shared/async/batch-loader.ts';
import { addressKey } from '../../../shared/auth/attempt-limits.ts';
import { type Identity, openTokens, type Tokens } from '../../../shared/auth/tokens.ts';
import type { Config } from '../../../shared/config/index.ts';
import { ApiError } from '../../../shared/contract/errors.ts';
import { SUBPROTOCOL } from '../../../shared/contract/protocol.ts';
import type { Database } from '../../../shared/db/database.ts';
import type { Reached } from '../delivery/cursor-writer.ts';

export type { Identity };
/** What of the request matters. */
export interface Knock {
  ip: string;
  host: string;
  origin: string;
  authorization: string;
  protocols: string[];
  query: URLSearchParams;
}
/** Who says to be whom. Without `identity` by a token or ticket that only Postgres can judge. */
export interface Claim {
  identity?: Identity;
  token?: string;
  ticket?: string;
}
const TICKET = 'ticket.';

export class Admission {
  readonly #config: Config;
  readonly #tokens: Tokens;
  readonly #revocations: Revocations;
  readonly #connected: (device_id: string) => boolean;
  readonly #ticket: (ticket: string) => Promise<Identity | undefined>;
  readonly #standing: (identity: Identity) => Promise<Standing>;
  readonly #perIp = new Map<string, number>();
  readonly #perUser = new Map<string, number>();

  /** `connected`: whether a device has a socket here. */
  constructor(db: Database, config: Config, revocations: Revocations, connected: (device_id: string) => boolean) {
    this.#config = config;
    this.#connected = connected;
    this.#tokens = openTokens(db, config);
    this.#revocations = revocations;
    this.#ticket = batchLoader((tickets: string[]) => this.#tokens.takeTickets(tickets));
    this.#standing = batchLoader((identities: Identity[]) => standings(db, identities));
  }

  /**
   * Before the upgrade, without waiting. Who passes is counted until `left`.
   * @throws {ApiError} why not
   */
  check(knock: Knock): Claim {
    if (knock.protocols.length && !knock.protocols.includes(SUBPROTOCOL))
      throw new ApiError('invalid_request', `offer the subprotocol ${SUBPROTOCOL}`);
    const address = addressKey(knock.ip);
    if ((this.#perIp.get(address) ?? 0) >= this.#config.WS_MAX_CONNECTIONS_PER_IP)
      throw tooMany('too many connections from this address');
    const claim = this.#claim(knock);
    if (claim.identity) {
      this.#revocations.assertActive(claim.identity.session_id);
      this.#enter(claim.identity);
    }
    count(this.#perIp, address, 1);
    return claim;
  }

  /** After the upgrade. @throws {ApiError} why not */
  async identify({ token, ticket }: Claim): Promise<Identity> {
    if (token !== undefined) return await this.#tokens.verify(token);
    const identity = await this.#ticket(ticket!);
    if (!identity) throw new ApiError('unauthenticated', 'the ticket is unknown, used or expired');
    return identity;
  }

  /** Of a socket that is still open: who it turned out to be. @throws {ApiError} `rate_limited` */
  identified(claim: Claim, identity: Identity): void {
    this.#enter(identity);
    claim.identity = identity;
  }

  /**
   * @returns how far the device has got; undefined for one that has no cursor yet
   * @throws {ApiError} why not
   */
  async standing(identity: Identity): Promise<Reached | undefined> {
    const { good, others, cursor, since } = await this.#standing(identity);
    // Also where it ended between the look-up and now.
    if (!good || this.#revocations.has(identity.session_id))
      throw new ApiError('unauthenticated', 'this session or device was revoked');
    if (others >= this.#config.WS_MAX_CONNECTIONS_PER_USER)
      throw tooMany('too many devices of this person are connected');
    return cursor === null ? undefined : { cursor, since: since!.getTime() };
  }

  /** The socket is gone. */
  left(ip: string, { identity }: Claim): void {
    count(this.#perIp, addressKey(ip), -1);
    if (identity) count(this.#perUser, identity.user_id, -1);
  }

  /** Counts a socket of the person. A device that is connected already takes the place of its own socket. */
  #enter({ user_id, device_id }: Identity): void {
    const most = this.#config.WS_MAX_CONNECTIONS_PER_USER * (this.#connected(device_id) ? 2 : 1);
    if ((this.#perUser.get(user_id) ?? 0) >= most) throw tooMany('too many devices of this person are connected');
    count(this.#perUser, user_id, 1);
  }

  #claim({ authorization, protocols, query }: Knock): Claim {
    const [scheme, bearer] = authorization.split(' ');
    if (authorization) {
      if (scheme?.toLowerCase() !== 'bearer' || !bearer)
        throw new ApiError('unauthenticated', 'Authorization must be `Bearer <access token>`');
      return this.#verify(bearer);
    }
    const offered = protocols.find((protocol) => protocol.startsWith(TICKET))?.slice(TICKET.length);
    const ticket = offered ?? query.get('ticket');
    if (ticket) return { ticket };
    const token = query.get('access_token') ?? query.get('token');
    if (!token) throw new ApiError('unauthenticated', 'give an access token or a ticket');
    if (!this.#config.WS_ALLOW_QUERY_TOKEN)
      throw new ApiError('unauthenticated', 'tokens in the query are not accepted; take a ticket');
    return this.#verify(token);
  }

  #verify(token: string): Claim {
    const identity = this.#tokens.verifyNow(token);
    return identity ? { identity } : { token };
  }
}

const tooMany = (message: string): ApiError => new ApiError('rate_limited', message, { retry_after_ms: 10_000 });

function count(map: Map<string, number>, key: string, by: number): void {
  const now = (map.get(key) ?? 0) + by;
  if (now > 0) map.set(key, now);
  else map.delete(key);
}

interface Standing {
  good: boolean;
  /** Other devices of the person that are connected, here and elsewhere. */
  others: number;
  cursor: number | null;
  since: Date | null;
}
async function standings(db: Database, identities: Identity[]): Promise<Standing[]> {
  return await db.query<Standing>(
    `select d.id is not null and s.id is not null as good, c.cursor, c.updated_at as since,
       (select count(*) from devices o join device_presence p on p.device_id = o.id
          where o.user_id = k.user_id and o.id <> k.device_id and p.edge_id is not null
            and exists (select 1 from edge_leases l where l.edge_id = p.edge_id)) as others
     from unnest($1::uuid[], $2::uuid[], $3::uuid[]) with ordinality as k(user_id, device_id, session_id, n)
     left join devices d on d.id = k.device_id and d.user_id = k.user_id and d.deleted_at is null
       and exists (select 1 from users u where u.id = k.user_id and u.deleted_at is null and u.suspended_at is null)
     left join sessions s on s.id = k.session_id and s.device_id = k.device_id and s.revoked_at is null
     left join device_cursors c on c.device_id = k.device_id
     order by k.n`,
    [
      identities.map(({ user_id }) => user_id),
      identities.map(({ device_id }) => device_id),
      identities.map(({ session_id }) => session_id),
    ],
  );
}
