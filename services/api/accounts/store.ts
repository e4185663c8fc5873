/** Accounts and devices as they stand in Postgres. */
import { randomInt } from 'node:crypto';
import { sql } from '@mikro-orm/core';
import type { BlindIndex } from '../../../shared/auth/blind-index.ts';
import { ApiError } from '../../../shared/contract/errors.ts';
import type { LoginBody, RegisterBody } from '../../../shared/contract/http/auth.ts';
import type { Device, User } from '../../../shared/contract/objects.ts';
import {
  type Database,
  type EntityManager,
  isDuplicate,
  type Query,
  type Transaction,
} from '../../../shared/db/database.ts';
import {
  Device as DeviceEntity,
  type Device as DeviceRow,
  Identifier,
  User as UserEntity,
  type User as UserRow,
} from '../../../shared/db/entities.ts';
import { place } from '../../../shared/db/sealed-columns.ts';
import { uuid7 } from '../../../shared/ids.ts';
import type { IdentifierKind, Named } from './identifiers.ts';
import { newRegistrationId } from './registration-id.ts';

export type Names = Partial<Record<IdentifierKind, string>>;
type Shown<T extends object> = { [K in keyof T]: T[K] | null };

const present = <T extends object>(fields: Shown<T>): T =>
  Object.fromEntries(Object.entries(fields).filter(([, value]) => value != null)) as T;

export const toUser = (row: Omit<UserRow, 'password_hash'>, sealer: BlindIndex): User => ({
  id: row.id,
  number: row.number,
  ...present({
    username: row.username ?? null,
    name: row.name_sealed ? sealer.decrypt(row.name_sealed, place.name(row.id)) : null,
    bio: row.bio ?? null,
    birthdate: row.birthdate_sealed ? sealer.decrypt(row.birthdate_sealed, place.birthdate(row.id)) : null,
    avatar_url: row.avatar_url ?? null,
    last_seen: row.last_seen?.toISOString() ?? null,
  } as Shown<Partial<User>>),
});

export const toDevice = (row: DeviceRow): Device => ({
  id: row.id,
  user_id: row.user_id,
  name: row.name,
  platform: row.platform,
  created_at: row.created_at.toISOString(),
  last_seen: row.last_seen?.toISOString() ?? null,
  ...(row.identity_key != null && { identity_key: row.identity_key }),
  ...(row.signing_key != null && { signing_key: row.signing_key }),
  ...(row.registration_id != null && { registration_id: row.registration_id }),
});

/** Numbers don't start with 0, so that nobody loses it on the way. */
const newNumber = (): string => String(randomInt(10_000_000, 100_000_000));
const NUMBER_TRIES = 20;

export type NewAccount = Omit<RegisterBody, 'password' | 'cookie' | IdentifierKind> & {
  /** Of the names, the one that its owner has proved to own. */
  verified?: IdentifierKind;
};
export interface Account {
  id: string;
  password_hash: string | null;
  suspended: boolean;
  /** Whether somebody has proved to own the identifier that it was found by. */
  verified: boolean;
}

export interface Accounts {
  /** Inside a transaction; gives the id of the device. @throws {ApiError} `conflict` naming what is taken. */
  create(
    tx: Transaction,
    user_id: string,
    names: Names,
    /** Null for who logs in by codes only. */
    password_hash: string | null,
    body: NewAccount,
  ): Promise<string>;
  /** Who is called that, unless the account is gone. */
  find(named: Named): Promise<Account | undefined>;
  /**
   * Gives the account to who proved to own its identifier, which nobody had: the password and the other unproved
   * addresses go. False where somebody else proved another one of them; then the identifier leaves that account.
   */
  claim(query: Query, user_id: string, proved: Named): Promise<boolean>;
  /** Puts the new hash in the place of the old one. False where that has changed meanwhile. */
  rehash(id: string, old: string, hash: string): Promise<boolean>;
  user(id: string): Promise<User | undefined>;
  device(id: string): Promise<Device | undefined>;
  devices(user_id: string, after: string | undefined, limit: number): Promise<Device[]>;
  /** The device with that id if it is the user's, else a new one. */
  signIn(tx: Transaction, user_id: string, device: LoginBody['device']): Promise<{ id: string; added: boolean }>;
}

export function openAccounts(db: Database, sealer: BlindIndex): Accounts {
  async function insertDevice(
    { em, query }: Transaction,
    user_id: string,
    { device, keys }: Pick<RegisterBody, 'device' | 'keys'>,
  ): Promise<string> {
    const id = uuid7();
    await em.insert(DeviceEntity, {
      id,
      user_id,
      name: device.name,
      platform: device.platform ?? 'unknown',
      push: device.push ?? null,
      identity_key: keys?.identity_key ?? null,
      signing_key: keys?.signing_key ?? null,
      registration_id: keys ? (keys.registration_id ?? newRegistrationId()) : null,
      last_seen: sql.now(),
    });
    if (device.push) await query('insert into push_states (device_id, next_at) values ($1, now())', [id]);
    return id;
  }

  async function insertUser(
    em: EntityManager,
    id: string,
    names: Names,
    password_hash: string | null,
    { name, bio, birthdate }: NewAccount,
  ): Promise<void> {
    for (let tries = 1; ; tries++) {
      // An insert that fails would end the transaction; one that finds the number taken inserts nothing.
      const { affectedRows } = await em
        .createQueryBuilder(UserEntity)
        .insert({
          id,
          number: newNumber(),
          password_hash,
          username: names.username ?? null,
          name_sealed: name === undefined ? null : sealer.encrypt(name, place.name(id)),
          bio: bio ?? null,
          birthdate_sealed: birthdate === undefined ? null : sealer.encrypt(birthdate, place.birthdate(id)),
        })
        .onConflict('number')
        .ignore()
        .execute('run');
      if (affectedRows) return;
      if (tries === NUMBER_TRIES) throw new Error('found no free number');
    }
  }

  async function insertIdentifier(
    { em, query }: Transaction,
    user_id: string,
    kind: IdentifierKind,
    value: string,
    { verified }: NewAccount,
  ): Promise<void> {
    const taken = (): ApiError =>
      new ApiError('conflict', `this ${kind} belongs to an account`, { details: { field: kind } });
    const [lookup, ...earlier] = sealer.lookups(kind, value);
    if (earlier.length) {
      // While keys change, processes write under different ones, and the constraint sees two texts: they meet here.
      const [least] = [lookup!, ...earlier].map((one) => one.toString('hex')).sort();
      await query('select pg_advisory_xact_lock(hashtextextended($1, 0))', [least]);
      const found = await query('select 1 from identifiers where kind = $1 and lookup = any($2::bytea[])', [
        kind,
        earlier,
      ]);
      if (found.length) throw taken();
    }
    const row = {
      kind,
      lookup: lookup!,
      sealed: sealer.encrypt(value, place.identifier(kind, user_id)),
      user_id,
      verified_at: verified === kind ? sql.now() : null,
    };
    await em.insert(Identifier, row).catch((error: unknown) => {
      throw isDuplicate(error, 'identifiers_lookup_unique') ? taken() : error;
    });
  }

  return {
    async create(tx, user_id, names, password_hash, body) {
      await insertUser(tx.em, user_id, names, password_hash, body);
      for (const [kind, value] of Object.entries(names) as [IdentifierKind, string][])
        await insertIdentifier(tx, user_id, kind, value, body);
      return await insertDevice(tx, user_id, body);
    },
    async claim(query, user_id, { kind, value }) {
      const rows = await query<{ kind: string; proved: boolean }>(
        `select kind, verified_at is not null as proved from identifiers where user_id = $1 for update`,
        [user_id],
      );
      if (rows.some(({ proved }) => proved)) {
        await query('delete from identifiers where user_id = $1 and kind = $2 and lookup = any($3::bytea[])', [
          user_id,
          kind,
          sealer.lookups(kind, value),
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
    },
    async find({ kind, value }) {
      const [row] = await db.query<Account>(
        kind === 'number'
          ? `select id, password_hash, suspended_at is not null as suspended, false as verified from users
             where number = $1 and deleted_at is null`
          : `select u.id, u.password_hash, u.suspended_at is not null as suspended,
               i.verified_at is not null as verified
             from identifiers i join users u on u.id = i.user_id
             where i.kind = $2 and i.lookup = any($1::bytea[]) and u.deleted_at is null`,
        kind === 'number' ? [value] : [sealer.lookups(kind, value), kind],
      );
      return row;
    },
    async rehash(id, old, hash) {
      return (await db.em().nativeUpdate(UserEntity, { id, password_hash: old }, { password_hash: hash })) > 0;
    },
    async user(id) {
      const row = await db.em().findOne(UserEntity, { id, deleted_at: null });
      return row ? toUser(row, sealer) : undefined;
    },
    async device(id) {
      const row = await db.em().findOne(DeviceEntity, { id, deleted_at: null });
      return row ? toDevice(row) : undefined;
    },
    async devices(user_id, after, limit) {
      const rows = await db
        .em()
        .find(
          DeviceEntity,
          { user_id, deleted_at: null, ...(after && { id: { $gt: after } }) },
          { orderBy: { id: 'asc' }, limit },
        );
      return rows.map(toDevice);
    },
    async signIn(tx, user_id, { id, name, platform }) {
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
