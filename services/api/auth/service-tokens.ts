/** Tokens of integrations and operators: opaque, hashed at rest, with scopes. ADMIN_TOKEN may do everything. */
import { timingSafeEqual } from 'node:crypto';
import { adminToken } from '../../../shared/auth/derived.ts';
import { hashSecret, newSecret } from '../../../shared/auth/secrets.ts';
import type { Config } from '../../../shared/config/index.ts';
import { ApiError } from '../../../shared/contract/errors.ts';
import type { Scope } from '../../../shared/contract/http/route.ts';
import type { ServiceToken } from '../../../shared/contract/http/service-tokens.ts';
import type { Database } from '../../../shared/db/database.ts';
import { uuid7 } from '../../../shared/ids.ts';

export interface ServiceIdentity {
  /** Of the token, or `admin`. */
  token_id: string;
  scopes: Scope[];
}

interface Row {
  id: string;
  name: string;
  scopes: Scope[];
  created_at: Date;
  expires_at: Date | null;
}
const shown = ({ id, name, scopes, created_at, expires_at }: Row): ServiceToken => ({
  id,
  name,
  scopes,
  created_at: created_at.toISOString(),
  ...(expires_at && { expires_at: expires_at.toISOString() }),
});

export interface ServiceTokens {
  /** @throws {ApiError} `unauthenticated`, or `forbidden` without that scope. */
  verify(token: string, scope: Scope): Promise<ServiceIdentity>;
  create(name: string, scopes: Scope[], days: number | undefined): Promise<ServiceToken & { token: string }>;
  list(after: string | undefined, limit: number): Promise<ServiceToken[]>;
  remove(id: string): Promise<boolean>;
}

const PREFIX = 'swt_';
const unknown = (): ApiError => new ApiError('unauthenticated', 'this is no valid service token');

export function openServiceTokens(db: Database, config: Config): ServiceTokens {
  const admin = config.ADMIN_TOKEN || config.NATS_SECRET ? hashSecret(adminToken(config)) : undefined;
  const COLUMNS = 'id, name, scopes, created_at, expires_at';
  return {
    async verify(token, scope) {
      const hash = hashSecret(token);
      if (admin && timingSafeEqual(hash, admin)) return { token_id: 'admin', scopes: ['admin'] };
      // What was not made here needs no look: anybody can send a token.
      if (!token.startsWith(PREFIX)) throw unknown();
      const [found] = await db.query<Row>(
        `select ${COLUMNS} from service_tokens where hash = $1 and (expires_at is null or expires_at > now())`,
        [hash],
      );
      if (!found) throw unknown();
      if (!found.scopes.includes(scope) && !found.scopes.includes('admin'))
        throw new ApiError('forbidden', `this token lacks the scope ${scope}`, { details: { scope } });
      return { token_id: found.id, scopes: found.scopes };
    },
    async create(name, scopes, days) {
      const token = `${PREFIX}${newSecret()}`;
      const [row] = await db.query<Row>(
        `insert into service_tokens (id, hash, name, scopes, expires_at)
         values ($1, $2, $3, $4, now() + make_interval(days => $5)) returning ${COLUMNS}`,
        [uuid7(), hashSecret(token), name, [...new Set(scopes)], days ?? null],
      );
      return { ...shown(row!), token };
    },
    async list(after, limit) {
      const rows = await db.query<Row>(
        `select ${COLUMNS} from service_tokens where $1::uuid is null or id > $1 order by id limit $2`,
        [after ?? null, limit],
      );
      return rows.map(shown);
    },
    async remove(id) {
      return (await db.query('delete from service_tokens where id = $1 returning id', [id])).length > 0;
    },
  };
}
