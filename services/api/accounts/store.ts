/** Stores accounts and their devices in Postgres. */
import { sql } from '@mikro-orm/core';
import type { BlindIndex } from '../../../shared/auth/blind-index.ts';
import type { LoginBody } from '../../../shared/contract/http/auth.ts';
import type { Device, User } from '../../../shared/contract/objects.ts';
import type { Database, Query, Transaction } from '../../../shared/db/database.ts';
import { Device as DeviceEntity, User as UserEntity } from '../../../shared/db/entities.ts';
import type { IdentifierKind, Named } from './identifiers.ts';
import { insertDevice, insertIdentifier, insertUser, type Names, type NewAccount } from './insert-account.ts';
import { toDevice, toUser } from './public-rows.ts';

export interface Account {
  id: string;
  password_hash: string | null;
  isSuspended: boolean;
  /** Whether a person has proved to own the identifier by which the account was found. */
  isVerified: boolean;
}

export interface Accounts {
  /** Creates an account with its first device. @returns the id of the device @throws {ApiError} `conflict` naming the field */
  createAccount(
    tx: Transaction,
    user_id: string,
    names: Names,
    /** Null for an account that logs in by codes only. */
    password_hash: string | null,
    body: NewAccount,
  ): Promise<string>;
  /** Finds an account that is not deleted by one of its names. */
  findAccount(named: Named): Promise<Account | undefined>;
  /**
   * Gives an account, of which no identifier was proved, to the person who has now proved to own one of them: removes the
   * password and the other addresses.
   * @returns false when another identifier of the account was proved before; then the account loses this one
   */
  claimAccount(query: Query, user_id: string, proved: Named): Promise<boolean>;
  /** @returns false when the stored hash is not `old` any more */
  replacePasswordHash(id: string, old: string, hash: string): Promise<boolean>;
  findUser(id: string): Promise<User | undefined>;
  findDevice(id: string): Promise<Device | undefined>;
  listDevices(user_id: string, after: string | undefined, limit: number): Promise<Device[]>;
  /** Uses the device with that id if it belongs to the person, otherwise creates one. */
  signInDevice(tx: Transaction, user_id: string, device: LoginBody['device']): Promise<{ id: string; added: boolean }>;
}

export function openAccounts(db: Database, blindIndex: BlindIndex): Accounts {
  return {
    async createAccount(tx, user_id, names, password_hash, body) {
      await insertUser(tx.em, blindIndex, user_id, names, password_hash, body);
      for (const [kind, value] of Object.entries(names) as [IdentifierKind, string][])
        await insertIdentifier(tx, blindIndex, user_id, kind, value, body);
      return await insertDevice(tx, user_id, body);
    },
    claimAccount: (query, user_id, identifier) => claimAccount(query, blindIndex, user_id, identifier),
    async findAccount({ kind, value }) {
      const [row] = await db.query<Account>(
        kind === 'number'
          ? `select id, password_hash, suspended_at is not null as "isSuspended", false as "isVerified" from users
             where number = $1 and deleted_at is null`
          : `select u.id, u.password_hash, u.suspended_at is not null as "isSuspended",
               i.verified_at is not null as "isVerified"
             from identifiers i join users u on u.id = i.user_id
             where i.kind = $2 and i.lookup = any($1::bytea[]) and u.deleted_at is null`,
        kind === 'number' ? [value] : [blindIndex.indexesOf(kind, value), kind],
      );
      return row;
    },
    async replacePasswordHash(id, old, hash) {
      return (await db.em().nativeUpdate(UserEntity, { id, password_hash: old }, { password_hash: hash })) > 0;
    },
    async findUser(id) {
      const row = await db.em().findOne(UserEntity, { id, deleted_at: null });
      return row ? toUser(row, blindIndex) : undefined;
    },
    async findDevice(id) {
      const row = await db.em().findOne(DeviceEntity, { id, deleted_at: null });
      return row ? toDevice(row) : undefined;
    },
    async listDevices(user_id, after, limit) {
      const rows = await db
        .em()
        .find(
          DeviceEntity,
          { user_id, deleted_at: null, ...(after && { id: { $gt: after } }) },
          { orderBy: { id: 'asc' }, limit },
        );
      return rows.map(toDevice);
    },
    async signInDevice(tx, user_id, { id, name, platform }) {
      const given = { ...(name !== undefined && { name }), ...(platform !== undefined && { platform }) };
      if (id !== undefined) {
        const where = { id, user_id, deleted_at: null };
        if (await tx.em.nativeUpdate(DeviceEntity, where, { last_seen: sql.now(), ...given }))
          return { id, added: false };
      }
      return { id: await insertDevice(tx, user_id, { device: { name: 'device', ...given } }), added: true };
    },
  };
}

async function claimAccount(
  query: Query,
  blindIndex: BlindIndex,
  user_id: string,
  { kind, value }: Named,
): Promise<boolean> {
  const rows = await query<{ kind: string; proved: boolean }>(
    `select kind, verified_at is not null as proved from identifiers where user_id = $1 for update`,
    [user_id],
  );
  if (rows.some(({ proved }) => proved)) {
    await query('delete from identifiers where user_id = $1 and kind = $2 and lookup = any($3::bytea[])', [
      user_id,
      kind,
      blindIndex.indexesOf(kind, value),
    ]);
    return false;
  }
  await query(
    `with others as (delete from identifiers where user_id = $1 and kind <> $2 and kind <> 'username'),
       emptied as (update users set password_hash = null where id = $1)
     update identifiers set verified_at = now() where user_id = $1 and kind = $2`,
    [user_id, kind],
  );
  return true;
}
