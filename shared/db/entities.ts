/**
 * Entities: the rows that requests read and write one at a time, mapped by MikroORM. Everything that the pipeline writes
 * in batches (conversations, members, messages, cursors, deliveries) is SQL; `migrations/` alone creates tables.
 *
 * An entity is selected with all of its columns, except those marked lazy: encrypted columns that only their writer needs.
 * A service whose database role may not read one of them (`roles.ts`) cannot use the entity.
 */

import { defineEntity, type InferEntity, p } from '@mikro-orm/core';
import type { PushTarget } from '../contract/http/push.ts';
import type { Scope } from '../contract/http/route.ts';

const createdAt = p.datetime(3).defaultRaw('now()');
const time = p.datetime(3).nullable();

export const User = defineEntity({
  name: 'User',
  tableName: 'users',
  properties: {
    id: p.uuid().primary(),
    number: p.string().length(8).unique(),
    password_hash: p.text().nullable(),
    username: p.text().nullable(),
    /** Encrypted under PERSONAL_KEYS, see shared/auth/blind-index.ts. */
    name_sealed: p.blob().nullable(),
    bio: p.text().nullable(),
    birthdate_sealed: p.blob().nullable(),
    avatar_url: p.text().nullable(),
    created_at: createdAt,
    last_seen: time,
    suspended_at: time,
    deleted_at: time,
  },
});
export type User = InferEntity<typeof User>;

/** A name with which a person logs in; unique among all people. */
export const Identifier = defineEntity({
  name: 'Identifier',
  tableName: 'identifiers',
  properties: {
    kind: p.enum(['phone', 'email', 'username'] as const).primary(),
    /** Blind index of the value. */
    lookup: p.blob().primary(),
    sealed: p.blob(),
    user_id: p.uuid().index(),
    verified_at: time,
  },
});

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
    created_at: createdAt,
    last_seen: time,
    deleted_at: time,
  },
});
export type Device = InferEntity<typeof Device>;

/** A log-in of a device, and the family of the refresh tokens that descend from it. */
export const Session = defineEntity({
  name: 'Session',
  tableName: 'sessions',
  properties: {
    id: p.uuid().primary(),
    user_id: p.uuid().index(),
    device_id: p.uuid().index(),
    ip: p.string().columnType('inet').nullable(),
    created_at: createdAt,
    last_used_at: time,
    revoked_at: time,
    revoked_why: p.text().nullable(),
  },
});

/** The one encrypted backup of a person's keys. Its version goes on counting after a removal. */
export const KeyBackup = defineEntity({
  name: 'KeyBackup',
  tableName: 'key_backups',
  properties: {
    user_id: p.uuid().primary(),
    data: p.text().nullable(),
    version: p.bigint('number'),
    updated_at: createdAt,
  },
});

/** A token of an integration or an operator. */
export const ServiceToken = defineEntity({
  name: 'ServiceToken',
  tableName: 'service_tokens',
  properties: {
    id: p.uuid().primary(),
    hash: p.blob().lazy(),
    name: p.text(),
    scopes: p.array<Scope>(),
    created_at: createdAt,
    expires_at: time,
  },
});
export type ServiceToken = InferEntity<typeof ServiceToken>;

export const WebhookEndpoint = defineEntity({
  name: 'WebhookEndpoint',
  tableName: 'webhook_endpoints',
  properties: {
    id: p.uuid().primary(),
    url: p.text(),
    description: p.text().nullable(),
    source: p.enum(['api', 'environment'] as const),
    event_types: p.array().nullable(),
    conversation_id: p.uuid().nullable(),
    ordered: p.boolean(),
    max_per_sec: p.integer().nullable(),
    enabled: p.boolean().default(true),
    disabled_reason: p.text().nullable(),
    failing_since: time,
    header_names: p.array(),
    /** The encrypted columns are under WEBHOOK_SECRETS_KEYS, see secrets.ts. */
    headers_sealed: p.blob().nullable().lazy(),
    secret_sealed: p.blob().lazy(),
    public_key: p.text(),
    old_secret_sealed: p.blob().nullable().lazy(),
    old_secret_until: time,
    /** Counts the changes, so that a worker knows when what it has cached is old. Not the ORM's optimistic lock. */
    version: p.integer().default(1),
    created_at: createdAt,
    updated_at: createdAt,
  },
});
export type WebhookEndpoint = InferEntity<typeof WebhookEndpoint>;

export const entities = [User, Identifier, Device, Session, KeyBackup, ServiceToken, WebhookEndpoint];
