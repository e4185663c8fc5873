/** Creates and checks one-time codes: six digits, stored as a keyed hash, CODE_MAX_TRIES tries, usable once. */
import { randomInt, timingSafeEqual } from 'node:crypto';
import type { BlindIndex } from '../../../shared/auth/blind-index.ts';
import type { Config } from '../../../shared/config/index.ts';
import { ApiError } from '../../../shared/contract/errors.ts';
import type { Database, Query } from '../../../shared/db/database.ts';
import { uuid7 } from '../../../shared/ids.ts';
import type { Named } from '../accounts/identifiers.ts';

/** A name to which a code can be sent. */
export type Provable = Named & { kind: 'phone' | 'email' };
export interface OneTimeCodes {
  /** Creates a code to log in with. It replaces an earlier one of the same address. */
  createLoginCode(to: Provable): Promise<string>;
  /** Creates a code that completes `pending`. Others for the same address stay valid, each for its own `id`. */
  createPendingCode(id: string, to: Provable, pending: unknown): Promise<string>;
  /** Counts a try. @throws {ApiError} `code_invalid` when the code is wrong, used, expired or was tried too often */
  tryLoginCode(to: Provable, code: string): Promise<CodeProof>;
  tryPendingCode(id: string, code: string): Promise<CodeProof>;
}
export interface CodeProof {
  /** The action that the code completes, decrypted; undefined for a log-in. */
  pending: unknown;
  /** Makes the code unusable, in the transaction that uses it. @throws {ApiError} `code_invalid` when another one was first */
  consume(query: Query): Promise<void>;
}
interface Row {
  id: string;
  code: Buffer;
  pending: Buffer | null;
}

const codeInvalid = (): ApiError =>
  new ApiError('code_invalid', 'this code is wrong, used or expired; request another one');
const pendingContext = (id: string): string => `codes.pending:${id}`;

const hashCode = (blindIndex: BlindIndex, id: string, code: string): Buffer => blindIndex.mac(`${id}:${code}`);

function checkCode(blindIndex: BlindIndex, row: Row | undefined, given: string): CodeProof {
  if (!row || !timingSafeEqual(row.code, hashCode(blindIndex, row.id, given))) throw codeInvalid();
  return {
    pending: row.pending ? JSON.parse(blindIndex.decrypt(row.pending, pendingContext(row.id))) : undefined,
    async consume(on) {
      const deleted = await on('delete from codes where id = $1 and code = $2 returning 1', [row.id, row.code]);
      if (!deleted.length) throw codeInvalid();
    },
  };
}

export function openOneTimeCodes({ query }: Database, blindIndex: BlindIndex, config: Config): OneTimeCodes {
  const { OTP_DEV_CODE, CODE_TTL_SEC, CODE_MAX_TRIES } = config;
  const newCode = (): string => OTP_DEV_CODE ?? String(randomInt(0, 1_000_000)).padStart(6, '0');

  return {
    async createLoginCode({ kind, value }) {
      const [id, code] = [uuid7(), newCode()];
      const [lookup, ...earlier] = blindIndex.indexesOf(kind, value);
      // One that was created under an earlier key of the index would be found first.
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
        [id, kind, lookup, hashCode(blindIndex, id, code), CODE_TTL_SEC],
      );
      return code;
    },

    async createPendingCode(id, { kind, value }, pending) {
      const code = newCode();
      await query(
        `insert into codes (id, purpose, kind, lookup, code, pending, expires_at)
         values ($1, 'verify', $2, $3, $4, $5, now() + make_interval(secs => $6))`,
        [
          id,
          kind,
          blindIndex.indexOf(kind, value),
          hashCode(blindIndex, id, code),
          blindIndex.encrypt(JSON.stringify(pending), pendingContext(id)),
          CODE_TTL_SEC,
        ],
      );
      return code;
    },

    async tryLoginCode({ kind, value }, code) {
      const [row] = await query<Row>(
        `update codes set tries = tries + 1 where purpose = 'login' and kind = $1 and lookup = any($2::bytea[])
           and expires_at > now() and tries < $3 returning id, code, pending`,
        [kind, blindIndex.indexesOf(kind, value), CODE_MAX_TRIES],
      );
      return checkCode(blindIndex, row, code);
    },

    async tryPendingCode(id, code) {
      const [row] = await query<Row>(
        `update codes set tries = tries + 1 where purpose = 'verify' and id = $1
           and expires_at > now() and tries < $2 returning id, code, pending`,
        [id, CODE_MAX_TRIES],
      );
      return checkCode(blindIndex, row, code);
    },
  };
}
