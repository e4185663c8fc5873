/** Accounts and devices as they stand in Postgres. */
import { randomInt } from 'node:crypto';
import { ApiError } from '../../shared/contract/errors.ts';
import type { LoginBody, PutKeysBody, RegisterBody } from '../../shared/contract/people.ts';
import type { Device, User } from '../../shared/contract/scalars.ts';
import { type Database, isDuplicate, type Query } from '../../shared/db/database.ts';
import {
  Device as DeviceEntity,
  type Device as DeviceRow,
  User as UserEntity,
  type User as UserRow,
} from '../../shared/db/entities.ts';
import { uuid7 } from '../../shared/ids.ts';
import type { IdentifierKind, Named } from './identifiers.ts';

export type Names = Partial<Record<IdentifierKind, string>>;
type Shown<T extends object> = { [K in keyof T]: T[K] | null };

const present = <T extends object>(fields: Shown<T>): T =>
  Object.fromEntries(Object.entries(fields).filter(([, value]) => value != null)) as T;

export const toUser = (row: Omit<UserRow, 'password_hash'>): User => ({
  id: row.id,
  number: row.number,
  ...present({
    username: row.username ?? null,
    name: row.name ?? null,
    bio: row.bio ?? null,
    birthdate: row.birthdate ?? null,
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
});

/** Numbers don't start with 0, so that nobody loses it on the way. */
const newNumber = (): string => String(randomInt(10_000_000, 100_000_000));
const NUMBER_TRIES = 20;

export interface Accounts {
  /** @throws {ApiError} `conflict` naming the identifier that is taken. */
  create(
    user_id: string,
    names: Names,
    password_hash: string,
    body: RegisterBody,
    then: (query: Query, device_id: string) => Promise<void>,
  ): Promise<string>;
  /** Who is called that, unless the account is gone. */
  find(named: Named): Promise<{ id: string; password_hash: string | null } | undefined>;
  user(id: string): Promise<User | undefined>;
  device(id: string): Promise<Device | undefined>;
  devices(user_id: string, after: string | undefined, limit: number): Promise<Device[]>;
  /** The device with that id if it is the user's, else a new one. */
  signIn(query: Query, user_id: string, device: LoginBody['device']): Promise<{ id: string; added: boolean }>;
  putKeys(device_id: string, keys: PutKeysBody): Promise<Device | undefined>;
}

export function openAccounts(db: Database): Accounts {
  const em = () => db.orm.em.fork();

  async function insertDevice(
    query: Query,
    user_id: string,
    { device, keys }: Pick<RegisterBody, 'device' | 'keys'>,
  ): Promise<string> {
    const id = uuid7();
    await query(
      `insert into devices (id, user_id, name, platform, push, identity_key, registration_id, last_seen)
       values ($1, $2, $3, $4, $5, $6, $7, now())`,
      [
        id,
        user_id,
        device.name,
        device.platform ?? 'unknown',
        device.push ? JSON.stringify(device.push) : null,
        keys?.identity_key ?? null,
        keys?.registration_id ?? null,
      ],
    );
    if (device.push) await query('insert into push_states (device_id, next_at) values ($1, now())', [id]);
    return id;
  }

  async function insertUser(
    query: Query,
    id: string,
    names: Names,
    password_hash: string,
    body: RegisterBody,
  ): Promise<void> {
    for (let tries = 1; ; tries++) {
      const [row] = await query(
        `insert into users (id, number, password_hash, username, name, bio, birthdate) values ($1, $2, $3, $4, $5, $6, $7)
         on conflict (number) do nothing returning id`,
        [
          id,
          newNumber(),
          password_hash,
          names.username ?? null,
          body.name ?? null,
          body.bio ?? null,
          body.birthdate ?? null,
        ],
      );
      if (row) return;
      if (tries === NUMBER_TRIES) throw new Error('found no free number');
    }
  }

  return {
    create(user_id, names, password_hash, body, then) {
      return db.transaction(async (query) => {
        await insertUser(query, user_id, names, password_hash, body);
        for (const [kind, value] of Object.entries(names)) {
          await query('insert into identifiers (kind, value, user_id) values ($1, $2, $3)', [
            kind,
            value,
            user_id,
          ]).catch((error: unknown) => {
            if (!isDuplicate(error, 'identifiers_pkey')) throw error;
            throw new ApiError('conflict', `this ${kind} belongs to an account`, { details: { field: kind } });
          });
        }
        const device_id = await insertDevice(query, user_id, body);
        await then(query, device_id);
        return device_id;
      });
    },
    async find({ kind, value }) {
      const [row] = await db.query<{ id: string; password_hash: string | null }>(
        kind === 'number'
          ? 'select id, password_hash from users where number = $1 and deleted_at is null'
          : `select u.id, u.password_hash from identifiers i join users u on u.id = i.user_id
             where i.kind = $2 and i.value = $1 and u.deleted_at is null`,
        kind === 'number' ? [value] : [value, kind],
      );
      return row;
    },
    async user(id) {
      const row = await em().findOne(UserEntity, { id, deleted_at: null });
      return row ? toUser(row) : undefined;
    },
    async device(id) {
      const row = await em().findOne(DeviceEntity, { id, deleted_at: null });
      return row ? toDevice(row) : undefined;
    },
    async devices(user_id, after, limit) {
      const rows = await em().find(
        DeviceEntity,
        { user_id, deleted_at: null, ...(after && { id: { $gt: after } }) },
        { orderBy: { id: 'asc' }, limit },
      );
      return rows.map(toDevice);
    },
    async signIn(query, user_id, { id, name, platform }) {
      const [known] = id
        ? await query<{ id: string }>(
            `update devices set last_seen = now(), name = coalesce($3, name), platform = coalesce($4, platform)
             where id = $1 and user_id = $2 and deleted_at is null returning id`,
            [id, user_id, name ?? null, platform ?? null],
          )
        : [];
      if (known) return { id: known.id, added: false };
      const device = { name: name ?? 'device', ...(platform && { platform }) };
      return { id: await insertDevice(query, user_id, { device }), added: true };
    },
    async putKeys(device_id, { identity_key, registration_id }) {
      const fork = em();
      const row = await fork.findOne(DeviceEntity, { id: device_id, deleted_at: null });
      if (!row) return undefined;
      row.identity_key = identity_key;
      row.registration_id = registration_id ?? null;
      await fork.flush();
      return toDevice(row);
    },
  };
}
