/**
 * People: the rows that requests read and write one at a time, as MikroORM entities. What the pipeline writes in
 * batches (conversations, members, messages, cursors) is raw SQL; its tables stand in `migrations/`.
 */

import { defineEntity, type InferEntity, p } from '@mikro-orm/core';
import type { PushTarget } from '../contract/http/push.ts';

export const User = defineEntity({
  name: 'User',
  tableName: 'users',
  properties: {
    id: p.uuid().primary(),
    number: p.string().length(8).unique(),
    password_hash: p.text().nullable(),
    username: p.text().nullable(),
    /** Sealed, see shared/auth/blind-index.ts. */
    name_sealed: p.blob().nullable(),
    bio: p.text().nullable(),
    birthdate_sealed: p.blob().nullable(),
    avatar_url: p.text().nullable(),
    created_at: p.datetime(3).defaultRaw('now()'),
    last_seen: p.datetime(3).nullable(),
    suspended_at: p.datetime(3).nullable(),
    deleted_at: p.datetime(3).nullable(),
  },
});
export type User = InferEntity<typeof User>;

/** One way to name a person when logging in; unique over everybody. */
export const Identifier = defineEntity({
  name: 'Identifier',
  tableName: 'identifiers',
  properties: {
    kind: p.enum(['phone', 'email', 'username'] as const).primary(),
    /** Blind index of the value. */
    lookup: p.blob().primary(),
    sealed: p.blob(),
    user_id: p.uuid().index(),
    verified_at: p.datetime(3).nullable(),
  },
});
export type Identifier = InferEntity<typeof Identifier>;

export const Device = defineEntity({
  name: 'Device',
  tableName: 'devices',
  properties: {
    id: p.uuid().primary(),
    user_id: p.uuid().index(),
    name: p.text(),
    platform: p.text(),
    push: p.json<PushTarget>().nullable(),
    identity_key: p.text().nullable(),
    signing_key: p.text().nullable(),
    registration_id: p.integer().nullable(),
    created_at: p.datetime(3).defaultRaw('now()'),
    last_seen: p.datetime(3).nullable(),
    deleted_at: p.datetime(3).nullable(),
  },
});
export type Device = InferEntity<typeof Device>;

/** A log-in of a device; the family of its refresh tokens. */
export const Session = defineEntity({
  name: 'Session',
  tableName: 'sessions',
  properties: {
    id: p.uuid().primary(),
    user_id: p.uuid().index(),
    device_id: p.uuid().index(),
    ip: p.string().columnType('inet').nullable(),
    created_at: p.datetime(3).defaultRaw('now()'),
    last_used_at: p.datetime(3).nullable(),
    revoked_at: p.datetime(3).nullable(),
    revoked_why: p.text().nullable(),
  },
});
export type Session = InferEntity<typeof Session>;

export const SigningKey = defineEntity({
  name: 'SigningKey',
  tableName: 'signing_keys',
  properties: {
    kid: p.text().primary(),
    public_jwk: p.json<Record<string, unknown>>(),
    private_sealed: p.blob().nullable(),
    created_at: p.datetime(3).defaultRaw('now()'),
    retired_at: p.datetime(3).nullable(),
  },
});
export type SigningKey = InferEntity<typeof SigningKey>;

export const entities = [User, Identifier, Device, Session, SigningKey];
