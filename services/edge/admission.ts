/** Who may connect: the checks before the upgrade. Look-ups of one turn are one statement. */
import { type Identity, openTokens } from '../../shared/auth/tokens.ts';
import type { Config } from '../../shared/config/index.ts';
import { ApiError } from '../../shared/contract/errors.ts';
import { SUBPROTOCOL } from '../../shared/contract/frames.ts';
import type { Database } from '../../shared/db/database.ts';
import { batched } from './batched.ts';

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
export interface Admitted {
  identity: Identity;
  /** Cursor of the device and when it was moved (ms since 1970); undefined for a device that has none. */
  cursor: number | undefined;
  since: number | undefined;
}
const TICKET = 'ticket.';

export class Admission {
  readonly #config: Config;
  readonly #verify: (token: string) => Promise<Identity>;
  readonly #ticket: (ticket: string) => Promise<Identity | undefined>;
  readonly #standing: (identity: Identity) => Promise<Standing>;
  readonly #perIp = new Map<string, number>();

  constructor(db: Database, config: Config) {
    const tokens = openTokens(db, config);
    this.#config = config;
    this.#verify = (token) => tokens.verify(token);
    this.#ticket = batched((tickets: string[]) => tokens.takeTickets(tickets));
    this.#standing = batched((identities: Identity[]) => standings(db, identities));
  }

  /** @throws {ApiError} why not */
  async check(knock: Knock): Promise<Admitted> {
    if (knock.protocols.length && !knock.protocols.includes(SUBPROTOCOL))
      throw new ApiError('invalid_request', `offer the subprotocol ${SUBPROTOCOL}`);
    if ((this.#perIp.get(knock.ip) ?? 0) >= this.#config.WS_MAX_CONNECTIONS_PER_IP)
      throw new ApiError('rate_limited', 'too many connections from this address', { retry_after_ms: 10_000 });
    const identity = await this.#identify(knock);
    const { good, cursor, since } = await this.#standing(identity);
    if (!good) throw new ApiError('unauthenticated', 'this session or device was revoked');
    return { identity, cursor: cursor ?? undefined, since: since?.getTime() };
  }

  entered(ip: string): void {
    this.#perIp.set(ip, (this.#perIp.get(ip) ?? 0) + 1);
  }
  left(ip: string): void {
    const others = (this.#perIp.get(ip) ?? 1) - 1;
    if (others > 0) this.#perIp.set(ip, others);
    else this.#perIp.delete(ip);
  }

  async #identify({ authorization, protocols, query }: Knock): Promise<Identity> {
    const [scheme, bearer] = authorization.split(' ');
    if (authorization) {
      if (scheme?.toLowerCase() !== 'bearer' || !bearer)
        throw new ApiError('unauthenticated', 'Authorization must be `Bearer <access token>`');
      return await this.#verify(bearer);
    }
    const offered = protocols.find((protocol) => protocol.startsWith(TICKET))?.slice(TICKET.length);
    const ticket = offered ?? query.get('ticket');
    if (ticket) {
      const identity = await this.#ticket(ticket);
      if (!identity) throw new ApiError('unauthenticated', 'the ticket is unknown, used or expired');
      return identity;
    }
    const token = query.get('access_token') ?? query.get('token');
    if (!token) throw new ApiError('unauthenticated', 'give an access token or a ticket');
    if (!this.#config.WS_ALLOW_QUERY_TOKEN)
      throw new ApiError('unauthenticated', 'tokens in the query are not accepted; take a ticket');
    return await this.#verify(token);
  }
}

interface Standing {
  good: boolean;
  cursor: number | null;
  since: Date | null;
}
async function standings(db: Database, identities: Identity[]): Promise<Standing[]> {
  return await db.query<Standing>(
    `select d.id is not null and s.id is not null as good, c.cursor, c.updated_at as since
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
