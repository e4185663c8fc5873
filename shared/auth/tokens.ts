/** Issues and verifies access tokens (JWT, RFC 9068) and socket tickets, for the api and the edge. */
import type { KeyObject } from 'node:crypto';
import { SignJWT } from 'jose';
import type { Logger } from 'pino';
import type { Config } from '../config/index.ts';
import type { Database } from '../db/database.ts';
import { uuid7 } from '../ids.ts';
import { ALG, expired, NAME, readAccessToken, TYP, type Unchecked, unauthenticated } from './access-token.ts';
import { hashSecret, newSecret } from './secrets.ts';
import { openSigningKeys, type SigningKeys } from './signing-keys.ts';

export interface Identity {
  user_id: string;
  device_id: string;
  session_id: string;
  /** Milliseconds since 1970. */
  expires_at: number;
}
export type TokenHolder = Omit<Identity, 'expires_at'>;

export interface Tokens {
  keys: SigningKeys;
  issue(holder: TokenHolder): Promise<{ access_token: string; expires_in_sec: number }>;
  /** @throws {ApiError} `unauthenticated` or `token_expired`; `unavailable` while the signing keys cannot be read */
  verify(token: string): Promise<Identity>;
  /** Verifies without waiting. @returns undefined when the key of the token is not in memory, so that only `verify` can decide */
  verifyNow(token: string): Identity | undefined;
  issueTicket(holder: TokenHolder): Promise<{ ticket: string; expires_in_sec: number }>;
  /** Uses up tickets in one statement. The result has undefined for one that is unknown, used, expired or of an ended session. */
  takeTickets(tickets: string[]): Promise<(Identity | undefined)[]>;
}

export function openTokens(db: Database, config: Config, log?: Logger): Tokens {
  const keys = openSigningKeys(db, config, log);
  const lifetimeSec = config.ACCESS_TOKEN_EXPIRE_MINUTES * 60;
  const verified = new VerifiedTokens(config.TOKEN_CACHE_SIZE);

  return {
    keys,
    async issue(holder) {
      const { kid, key } = await keys.signingKey();
      const access_token = await new SignJWT({ did: holder.device_id, sid: holder.session_id })
        .setProtectedHeader({ alg: ALG, typ: TYP, kid })
        .setSubject(holder.user_id)
        .setIssuer(NAME)
        .setAudience(NAME)
        .setJti(uuid7())
        .setIssuedAt()
        .setExpirationTime(`${lifetimeSec}s`)
        .sign(key);
      return { access_token, expires_in_sec: lifetimeSec };
    },
    async verify(token) {
      const identity = verified.find(token);
      if (identity) return identity;
      const unchecked = readAccessToken(token);
      const key = await keys.findVerifyingKey(unchecked.kid);
      if (!key) throw unauthenticated();
      return verified.check(token, unchecked, key);
    },
    verifyNow(token) {
      const identity = verified.find(token);
      if (identity) return identity;
      const unchecked = readAccessToken(token);
      const key = keys.cachedVerifyingKey(unchecked.kid);
      return key && verified.check(token, unchecked, key);
    },
    async issueTicket({ user_id, device_id, session_id }) {
      const ticket = newSecret();
      await db.query(
        `insert into ws_tickets (hash, user_id, device_id, session_id, expires_at)
         values ($1, $2, $3, $4, now() + make_interval(secs => $5))`,
        [hashSecret(ticket), user_id, device_id, session_id, config.TICKET_TTL_SEC],
      );
      return { ticket, expires_in_sec: config.TICKET_TTL_SEC };
    },
    takeTickets: (tickets) => takeTickets(db, tickets, lifetimeSec),
  };
}

async function takeTickets(
  db: Pick<Database, 'query'>,
  tickets: string[],
  lifetimeSec: number,
): Promise<(Identity | undefined)[]> {
  const hashes = tickets.map(hashSecret);
  const rows = await db.query<TokenHolder & { hash: Buffer }>(
    `with taken as (delete from ws_tickets where hash = any($1::bytea[]) returning *)
     select t.hash, t.user_id, t.device_id, t.session_id from taken t
     join sessions s on s.id = t.session_id and s.revoked_at is null
     join devices d on d.id = t.device_id and d.deleted_at is null
     where t.expires_at > now()`,
    [hashes],
  );
  const expires_at = Date.now() + lifetimeSec * 1000;
  const found = new Map(rows.map(({ hash, ...holder }) => [hash.toString('hex'), { ...holder, expires_at }]));
  return hashes.map((hash) => {
    const key = hash.toString('hex');
    const identity = found.get(key);
    // A ticket that occurs twice in a batch is valid for its first use only.
    found.delete(key);
    return identity;
  });
}

/** Remembers the identities of access tokens whose signature was checked. The token unused for longest is evicted. */
class VerifiedTokens {
  readonly #size: number;
  /** In order of use, the longest unused first. */
  readonly #identities = new Map<string, Identity>();

  constructor(size: number) {
    this.#size = size;
  }

  /** @throws {ApiError} `token_expired` */
  find(token: string): Identity | undefined {
    const identity = this.#identities.get(token);
    if (!identity) return undefined;
    this.#identities.delete(token);
    if (identity.expires_at <= Date.now()) throw expired();
    this.#identities.set(token, identity);
    return identity;
  }

  /** Checks the signature and remembers the identity. @throws {ApiError} `unauthenticated`, `token_expired` */
  check(token: string, unchecked: Unchecked, key: KeyObject): Identity {
    const { sub, did, sid, exp } = unchecked.check(key);
    const identity = { user_id: sub, device_id: did, session_id: sid, expires_at: exp * 1000 };
    this.#identities.set(token, identity);
    if (this.#identities.size > this.#size) this.#identities.delete(this.#identities.keys().next().value!);
    return identity;
  }
}
