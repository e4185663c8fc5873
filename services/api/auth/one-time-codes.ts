/** One-time codes: six digits, kept as a keyed hash, five tries, used once. */
import { randomInt, timingSafeEqual } from 'node:crypto';
import type { BlindIndex } from '../../../shared/auth/blind-index.ts';
import type { Config } from '../../../shared/config/index.ts';
import { ApiError } from '../../../shared/contract/errors.ts';
import type { Database, Query } from '../../../shared/db/database.ts';
import { uuid7 } from '../../../shared/ids.ts';
import type { Named } from '../accounts/identifiers.ts';

export type Provable = Named & { kind: 'phone' | 'email' };
export interface Codes {
  /** A code for logging in; one asked for before is void. */
  forLogin(to: Provable): Promise<string>;
  /** A code that completes what is pending for `id`; others for the same address stay good, each for its own. */
  forPending(id: string, to: Provable, pending: unknown): Promise<string>;
  /** Takes a try. @throws {ApiError} `code_invalid` when it is wrong, used, expired or tried too often. */
  tryLogin(to: Provable, code: string): Promise<Proof>;
  tryPending(id: string, code: string): Promise<Proof>;
}
export interface Proof {
  /** Opened; undefined for a log-in. */
  pending: unknown;
  /** Uses the code up, together with what else happens in the transaction. @throws {ApiError} `code_invalid` */
  use(query: Query): Promise<void>;
}
interface Row {
  id: string;
  code: Buffer;
  pending: Buffer | null;
}

const invalid = (): ApiError =>
  new ApiError('code_invalid', 'this code is wrong, used or expired; ask for another one');
const place = (id: string): string => `codes.pending:${id}`;

export function openCodes({ query }: Database, sealer: BlindIndex, config: Config): Codes {
  const { OTP_DEV_CODE, CODE_TTL_SEC, CODE_MAX_TRIES } = config;
  const newCode = (): string => OTP_DEV_CODE ?? String(randomInt(0, 1_000_000)).padStart(6, '0');
  const hash = (id: string, code: string): Buffer => sealer.mac(`${id}:${code}`);

  async function tried(rows: Row[], given: string): Promise<Proof> {
    const [row] = rows;
    if (!row || !timingSafeEqual(row.code, hash(row.id, given))) throw invalid();
    return {
      pending: row.pending ? JSON.parse(sealer.decrypt(row.pending, place(row.id))) : undefined,
      async use(on) {
        if (!(await on('delete from codes where id = $1 and code = $2 returning 1', [row.id, row.code])).length)
          throw invalid();
      },
    };
  }

  return {
    async forLogin({ kind, value }) {
      const [id, code] = [uuid7(), newCode()];
      const [lookup, ...earlier] = sealer.lookups(kind, value);
      // Sent under an earlier key of the index, it would be found first.
      if (earlier.length)
        await query(`delete from codes where purpose = 'login' and kind = $1 and lookup = any($2::bytea[])`, [
          kind,
          earlier,
        ]);
      await query(
        `insert into codes (id, purpose, kind, lookup, code, expires_at)
         values ($1, 'login', $2, $3, $4, now() + make_interval(secs => $5))
         on conflict (kind, lookup) where purpose = 'login' do update set id = excluded.id, code = excluded.code,
           tries = 0, created_at = now(), expires_at = excluded.expires_at`,
        [id, kind, lookup, hash(id, code), CODE_TTL_SEC],
      );
      return code;
    },

    async forPending(id, { kind, value }, pending) {
      const code = newCode();
      await query(
        `insert into codes (id, purpose, kind, lookup, code, pending, expires_at)
         values ($1, 'verify', $2, $3, $4, $5, now() + make_interval(secs => $6))`,
        [
          id,
          kind,
          sealer.lookup(kind, value),
          hash(id, code),
          sealer.encrypt(JSON.stringify(pending), place(id)),
          CODE_TTL_SEC,
        ],
      );
      return code;
    },

    async tryLogin({ kind, value }, code) {
      const rows = await query<Row>(
        `update codes set tries = tries + 1 where purpose = 'login' and kind = $1 and lookup = any($2::bytea[])
           and expires_at > now() and tries < $3 returning id, code, pending`,
        [kind, sealer.lookups(kind, value), CODE_MAX_TRIES],
      );
      return await tried(rows, code);
    },

    async tryPending(id, code) {
      const rows = await query<Row>(
        `update codes set tries = tries + 1 where purpose = 'verify' and id = $1
           and expires_at > now() and tries < $2 returning id, code, pending`,
        [id, CODE_MAX_TRIES],
      );
      return await tried(rows, code);
    },
  };
}
