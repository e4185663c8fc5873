/** Sealed columns: where each belongs, and bringing all of them under the keys of now. */
import type { BlindIndex } from '../auth/blind-index.ts';
import type { Database, Query } from './database.ts';

/** A sealed field can be opened at its own place only. */
export const place = {
  name: (user_id: string): string => `users.name:${user_id}`,
  birthdate: (user_id: string): string => `users.birthdate:${user_id}`,
  identifier: (kind: string, user_id: string): string => `identifiers.${kind}:${user_id}`,
};

const PAGE = 500;
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

/** Whether rows of a version that kept them in the clear are left. */
export async function hasPlain({ query }: Pick<Database, 'query'>): Promise<boolean> {
  const rows = await query(
    `select 1 from users where name is not null or birthdate is not null
     union all select 1 from identifiers where value is not null limit 1`,
  );
  return rows.length > 0;
}

/**
 * Seals what is in the clear, and again what was sealed or indexed under an earlier key. May be stopped and run again,
 * while the services run. What can't be opened, because its key is gone, is counted and left as it is.
 */
export async function resealPeople(db: Database, sealer: BlindIndex): Promise<{ fields: number; unreadable: number }> {
  let fields = 0;
  let unreadable = 0;
  const count = async (work: () => Promise<number>): Promise<void> => {
    try {
      fields += await work();
    } catch (error) {
      if (!(error instanceof Unreadable)) throw error;
      unreadable++;
    }
  };
  for (let after = '00000000-0000-0000-0000-000000000000'; ; ) {
    const last = await db.transaction(async ({ query }) => {
      const users = await query<UserRow>(
        `select id, name, name_sealed, birthdate, birthdate_sealed from users where id > $1 order by id limit ${PAGE} for update`,
        [after],
      );
      for (const user of users) await count(() => resealUser(query, sealer, user));
      const identifiers = await query<IdentifierRow>(
        'select kind, user_id, value, sealed, lookup from identifiers where user_id = any($1::uuid[]) for update',
        [users.map(({ id }) => id)],
      );
      for (const one of identifiers) await count(() => resealIdentifier(query, sealer, one));
      return users.at(-1)?.id;
    });
    if (last === undefined) return { fields, unreadable };
    after = last;
  }
}

class Unreadable extends Error {}
function opened(sealer: BlindIndex, sealed: Buffer, at: string): string {
  try {
    return sealer.decrypt(sealed, at);
  } catch (cause) {
    throw new Unreadable('sealed under another key', { cause });
  }
}

/** The field under the current key; undefined where it is so already. @throws {Unreadable} */
function renewed(sealer: BlindIndex, plain: string | null, sealed: Buffer | null, at: string): Buffer | undefined {
  if (plain !== null) return sealer.encrypt(plain, at);
  if (sealed === null || sealer.isCurrent(sealed)) return undefined;
  return sealer.encrypt(opened(sealer, sealed, at), at);
}

async function resealUser(query: Query, sealer: BlindIndex, row: UserRow): Promise<number> {
  const name = renewed(sealer, row.name, row.name_sealed, place.name(row.id));
  const birthdate = renewed(sealer, row.birthdate, row.birthdate_sealed, place.birthdate(row.id));
  if (!name && !birthdate) return 0;
  await query(
    `update users set name = null, name_sealed = coalesce($2, name_sealed),
       birthdate = null, birthdate_sealed = coalesce($3, birthdate_sealed) where id = $1`,
    [row.id, name ?? null, birthdate ?? null],
  );
  return Number(name !== undefined) + Number(birthdate !== undefined);
}

async function resealIdentifier(query: Query, sealer: BlindIndex, row: IdentifierRow): Promise<number> {
  const at = place.identifier(row.kind, row.user_id);
  const sealed = renewed(sealer, row.value, row.sealed, at);
  const stale = row.lookup === null || !sealer.currentLookup(row.lookup);
  if (!sealed && !stale) return 0;
  const value = row.value ?? opened(sealer, row.sealed!, at);
  await query(
    `update identifiers set value = null, sealed = coalesce($4, sealed), lookup = $5
     where kind = $1 and user_id = $2 and (lookup = $3 or lookup is null)`,
    [row.kind, row.user_id, row.lookup, sealed ?? null, sealer.lookup(row.kind, value)],
  );
  return 1;
}
