/** Stores and verifies tokens of integrations and operators: opaque, hashed at rest, with scopes. ADMIN_TOKEN has all scopes. */
import { timingSafeEqual } from 'node:crypto';
import { raw, sql } from '@mikro-orm/core';
import { adminToken } from '../../../shared/auth/derived.ts';
import { hashSecret, newSecret } from '../../../shared/auth/secrets.ts';
import type { Config } from '../../../shared/config/index.ts';
import { ApiError } from '../../../shared/contract/errors.ts';
import type { Scope } from '../../../shared/contract/http/route.ts';
import type { ServiceToken } from '../../../shared/contract/http/service-tokens.ts';
import type { Database } from '../../../shared/db/database.ts';
import {
  ServiceToken as ServiceTokenEntity,
  type ServiceToken as ServiceTokenRow,
} from '../../../shared/db/entities.ts';
import { uuid7 } from '../../../shared/ids.ts';

interface ServiceIdentity {
  /** Id of the token, or `admin`. */
  token_id: string;
  scopes: Scope[];
}

type Row = Pick<ServiceTokenRow, 'id' | 'name' | 'scopes' | 'created_at' | 'expires_at'>;
const toServiceToken = ({ id, name, scopes, created_at, expires_at }: Row): ServiceToken => ({
  id,
  name,
  scopes,
  created_at: created_at.toISOString(),
  ...(expires_at && { expires_at: expires_at.toISOString() }),
});

export interface ServiceTokens {
  /** @throws {ApiError} `unauthenticated`, or `forbidden` when the token lacks the scope */
  verify(token: string, scope: Scope): Promise<ServiceIdentity>;
  create(name: string, scopes: Scope[], days: number | undefined): Promise<ServiceToken & { token: string }>;
  list(after: string | undefined, limit: number): Promise<ServiceToken[]>;
  remove(id: string): Promise<boolean>;
}

const PREFIX = 'swt_';
const unknown = (): ApiError => new ApiError('unauthenticated', 'the service token is not valid');

export function openServiceTokens(db: Database, config: Config): ServiceTokens {
  const admin = config.ADMIN_TOKEN || config.NATS_SECRET ? hashSecret(adminToken(config)) : undefined;
  return {
    async verify(token, scope) {
      const hash = hashSecret(token);
      if (admin && timingSafeEqual(hash, admin)) return { token_id: 'admin', scopes: ['admin'] };
      // Any caller can send any text: one that does not look like a service token costs no query.
      if (!token.startsWith(PREFIX)) throw unknown();
      const found = await db
        .em()
        .findOne(ServiceTokenEntity, { hash, $or: [{ expires_at: null }, { expires_at: { $gt: sql.now() } }] });
      if (!found) throw unknown();
      if (!found.scopes.includes(scope) && !found.scopes.includes('admin'))
        throw new ApiError('forbidden', `this token lacks the scope ${scope}`, { details: { scope } });
      return { token_id: found.id, scopes: found.scopes };
    },
    async create(name, scopes, days) {
      const token = `${PREFIX}${newSecret()}`;
      const em = db.em();
      const id = uuid7();
      await em.insert(ServiceTokenEntity, {
        id,
        hash: hashSecret(token),
        name,
        scopes: [...new Set(scopes)],
        expires_at: days === undefined ? null : raw('now() + make_interval(days => ?)', [days]),
      });
      return { ...toServiceToken(await em.findOneOrFail(ServiceTokenEntity, { id })), token };
    },
    async list(after, limit) {
      const where = after === undefined ? {} : { id: { $gt: after } };
      const rows = await db.em().find(ServiceTokenEntity, where, { orderBy: { id: 'asc' }, limit });
      return rows.map(toServiceToken);
    },
    async remove(id) {
      return (await db.em().nativeDelete(ServiceTokenEntity, { id })) > 0;
    },
  };
}
