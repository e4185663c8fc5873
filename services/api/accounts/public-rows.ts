/** Shows rows of people and devices as the API does. */
import type { BlindIndex } from '../../../shared/auth/blind-index.ts';
import { columnContext } from '../../../shared/auth/encrypted-columns.ts';
import type { Device, User } from '../../../shared/contract/objects.ts';
import type { Device as DeviceRow, User as UserRow } from '../../../shared/db/entities.ts';

type Nullable<T extends object> = { [K in keyof T]: T[K] | null };

const withoutNulls = <T extends object>(fields: Nullable<T>): T =>
  Object.fromEntries(Object.entries(fields).filter(([, value]) => value != null)) as T;

/** Decrypts name and birthdate. */
export const toUser = (row: Omit<UserRow, 'password_hash'>, blindIndex: BlindIndex): User => ({
  id: row.id,
  number: row.number,
  ...withoutNulls({
    username: row.username ?? null,
    name: row.name_sealed ? blindIndex.decrypt(row.name_sealed, columnContext.name(row.id)) : null,
    bio: row.bio ?? null,
    birthdate: row.birthdate_sealed ? blindIndex.decrypt(row.birthdate_sealed, columnContext.birthdate(row.id)) : null,
    avatar_url: row.avatar_url ?? null,
    last_seen: row.last_seen?.toISOString() ?? null,
  } as Nullable<Partial<User>>),
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
