/** Names the contexts of encrypted columns, and reencrypts all of them under the present keys. */

import type { Database, Query } from '../db/database.ts';
import type { BlindIndex } from './blind-index.ts';

/** A field can be decrypted in its own context only, so that no row can be given the value of another one. */
export const columnContext = {
  name: (user_id: string): string => `users.name:${user_id}`,
  birthdate: (user_id: string): string => `users.birthdate:${user_id}`,
  identifier: (kind: string, user_id: string): string => `identifiers.${kind}:${user_id}`,
};

/** People of one transaction. */
const PAGE = 500;
const FIRST_ID = '00000000-0000-0000-0000-000000000000';
interface UserRow {
  id: string;
  name: string | null;
  name_sealed: Buffer | null;
  birthdate: string | null;
  birthdate_sealed: Buffer | null;
}
interface IdentifierRow {
  kind: string;
  user_id: string;
  value: string | null;
  sealed: Buffer | null;
  lookup: Buffer | null;
}

/** Whether there are rows of a version that did not encrypt them. */
export async function hasPlainColumns({ query }: Pick<Database, 'query'>): Promise<boolean> {
  const rows = await query(
    `select 1 from users where name is not null or birthdate is not null
     union all select 1 from identifiers where value is not null limit 1`,
  );
  return rows.length > 0;
}

/**
 * Encrypts fields that are in the clear, and reencrypts those that were encrypted or indexed under an earlier key. It can be
 * interrupted and run again, also while the services run.
 * @returns the number of changed fields, and of rows that were left because their key is missing
 */
export async function reencryptPeople(
  db: Database,
  blindIndex: BlindIndex,
): Promise<{ fields: number; unreadable: number }> {
  let fields = 0;
  let unreadable = 0;
  const count = async (reencrypt: () => Promise<number>): Promise<void> => {
    try {
      fields += await reencrypt();
    } catch (error) {
      if (!(error instanceof UnreadableField)) throw error;
      unreadable++;
    }
  };
  for (let after = FIRST_ID; ; ) {
    const last = await db.transaction(async ({ query }) => {
      const users = await query<UserRow>(
        `select id, name, name_sealed, birthdate, birthdate_sealed from users where id > $1 order by id limit ${PAGE} for update`,
        [after],
      );
      for (const user of users) await count(() => reencryptUser(query, blindIndex, user));
      const identifiers = await query<IdentifierRow>(
        'select kind, user_id, value, sealed, lookup from identifiers where user_id = any($1::uuid[]) for update',
        [users.map(({ id }) => id)],
      );
      for (const identifier of identifiers) await count(() => reencryptIdentifier(query, blindIndex, identifier));
      return users.at(-1)?.id;
    });
    if (last === undefined) return { fields, unreadable };
    after = last;
  }
}

class UnreadableField extends Error {}

function decryptField(blindIndex: BlindIndex, encrypted: Buffer, context: string): string {
  try {
    return blindIndex.decrypt(encrypted, context);
  } catch (cause) {
    throw new UnreadableField('encrypted under a key that is missing', { cause });
  }
}

/** Returns a field under the present key; undefined when it is so already. @throws {UnreadableField} */
function reencryptField(
  blindIndex: BlindIndex,
  plain: string | null,
  encrypted: Buffer | null,
  context: string,
): Buffer | undefined {
  if (plain !== null) return blindIndex.encrypt(plain, context);
  if (encrypted === null || blindIndex.isCurrent(encrypted)) return undefined;
  return blindIndex.encrypt(decryptField(blindIndex, encrypted, context), context);
}

async function reencryptUser(query: Query, blindIndex: BlindIndex, row: UserRow): Promise<number> {
  const name = reencryptField(blindIndex, row.name, row.name_sealed, columnContext.name(row.id));
  const birthdate = reencryptField(blindIndex, row.birthdate, row.birthdate_sealed, columnContext.birthdate(row.id));
  if (!name && !birthdate) return 0;
  await query(
    `update users set name = null, name_sealed = coalesce($2, name_sealed),
       birthdate = null, birthdate_sealed = coalesce($3, birthdate_sealed) where id = $1`,
    [row.id, name ?? null, birthdate ?? null],
  );
  return Number(name !== undefined) + Number(birthdate !== undefined);
}

async function reencryptIdentifier(query: Query, blindIndex: BlindIndex, row: IdentifierRow): Promise<number> {
  const context = columnContext.identifier(row.kind, row.user_id);
  const encrypted = reencryptField(blindIndex, row.value, row.sealed, context);
  const isIndexOld = row.lookup === null || !blindIndex.isCurrentIndex(row.lookup);
  if (!encrypted && !isIndexOld) return 0;
  const value = row.value ?? decryptField(blindIndex, row.sealed!, context);
  await query(
    `update identifiers set value = null, sealed = coalesce($4, sealed), lookup = $5
     where kind = $1 and user_id = $2 and (lookup = $3 or lookup is null)`,
    [row.kind, row.user_id, row.lookup, encrypted ?? null, blindIndex.indexOf(row.kind, value)],
  );
  return 1;
}
