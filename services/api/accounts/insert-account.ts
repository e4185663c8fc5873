/** Inserts the rows of a new account: the person, the names to log in with, the first device. */
import { randomInt } from 'node:crypto';
import { sql } from '@mikro-orm/core';
import type { BlindIndex } from '../../../shared/auth/blind-index.ts';
import { columnContext } from '../../../shared/auth/encrypted-columns.ts';
import { ApiError } from '../../../shared/contract/errors.ts';
import type { RegisterBody } from '../../../shared/contract/http/auth.ts';
import { type EntityManager, isDuplicate, type Transaction } from '../../../shared/db/database.ts';
import { Device, Identifier, User } from '../../../shared/db/entities.ts';
import { uuid7 } from '../../../shared/ids.ts';
import type { IdentifierKind } from './identifiers.ts';
import { newRegistrationId } from './registration-id.ts';

export type Names = Partial<Record<IdentifierKind, string>>;
export type NewAccount = Omit<RegisterBody, 'password' | 'cookie' | IdentifierKind> & {
  /** The one of the names that its owner has proved to own. */
  verified?: IdentifierKind;
};

/** Returns a number of eight digits. It does not begin with 0, which people and spreadsheets drop. */
const newNumber = (): string => String(randomInt(10_000_000, 100_000_000));
/** Tries before a registration fails. Most of the 90 million numbers would have to be taken for that. */
const NUMBER_TRIES = 20;

/** Inserts a device with the keys that it was registered with, and has the push worker look at its target. */
export async function insertDevice(
  { em, query }: Transaction,
  user_id: string,
  { device, keys }: Pick<RegisterBody, 'device' | 'keys'>,
): Promise<string> {
  const id = uuid7();
  await em.insert(Device, {
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

/** Inserts a person under a random number that is free. */
export async function insertUser(
  em: EntityManager,
  blindIndex: BlindIndex,
  id: string,
  names: Names,
  password_hash: string | null,
  { name, bio, birthdate }: NewAccount,
): Promise<void> {
  for (let tries = 1; ; tries++) {
    // An insert that fails would end the transaction; one that finds the number taken inserts nothing.
    const { affectedRows } = await em
      .createQueryBuilder(User)
      .insert({
        id,
        number: newNumber(),
        password_hash,
        username: names.username ?? null,
        name_sealed: name === undefined ? null : blindIndex.encrypt(name, columnContext.name(id)),
        bio: bio ?? null,
        birthdate_sealed: birthdate === undefined ? null : blindIndex.encrypt(birthdate, columnContext.birthdate(id)),
      })
      .onConflict('number')
      .ignore()
      .execute('run');
    if (affectedRows) return;
    if (tries === NUMBER_TRIES) throw new Error(`found no free number in ${NUMBER_TRIES} tries`);
  }
}

/** @throws {ApiError} `conflict` naming the field when the identifier belongs to another account */
export async function insertIdentifier(
  { em, query }: Transaction,
  blindIndex: BlindIndex,
  user_id: string,
  kind: IdentifierKind,
  value: string,
  { verified }: NewAccount,
): Promise<void> {
  const taken = (): ApiError =>
    new ApiError('conflict', `this ${kind} belongs to an account`, { details: { field: kind } });
  const [lookup, ...earlier] = blindIndex.indexesOf(kind, value);
  if (earlier.length) {
    // While keys change, two processes may write the same identifier under different keys, which the unique constraint
    // does not notice. This lock makes them take turns.
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
    sealed: blindIndex.encrypt(value, columnContext.identifier(kind, user_id)),
    user_id,
    verified_at: verified === kind ? sql.now() : null,
  };
  await em.insert(Identifier, row).catch((error: unknown) => {
    throw isDuplicate(error, 'identifiers_lookup_unique') ? taken() : error;
  });
}
