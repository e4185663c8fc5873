import { Migration } from '@mikro-orm/migrations';

/**
 * People have foreign keys; what is projected from the log has none: a projection is written in batches, can be
 * dropped and built again, and must not fail on a row of another table.
 */
const STATEMENTS = [
  `create table users (
    id uuid primary key,
    number varchar(8) not null unique check (number ~ '^[0-9]{8}$'),
    password_hash text, username text, name text, bio text, birthdate text, avatar_url text,
    created_at timestamptz(3) not null default now(),
    last_seen timestamptz(3), deleted_at timestamptz(3))`,

  `create table identifiers (
    kind text not null check (kind in ('phone', 'email', 'username')),
    value text not null,
    user_id uuid not null references users (id) on delete cascade,
    verified_at timestamptz(3),
    primary key (kind, value))`,
  'create index identifiers_user_id_index on identifiers (user_id)',

  `create table devices (
    id uuid primary key,
    user_id uuid not null references users (id) on delete cascade,
    name text not null, platform text not null,
    push jsonb, identity_key text, registration_id int,
    created_at timestamptz(3) not null default now(),
    last_seen timestamptz(3), deleted_at timestamptz(3))`,
  'create index devices_user_id_index on devices (user_id)',

  `create table sessions (
    id uuid primary key,
    user_id uuid not null references users (id) on delete cascade,
    device_id uuid not null references devices (id) on delete cascade,
    created_at timestamptz(3) not null default now(),
    last_used_at timestamptz(3), revoked_at timestamptz(3), revoked_why text)`,
  'create index sessions_user_id_index on sessions (user_id)',
  'create index sessions_device_id_index on sessions (device_id)',

  `create table refresh_tokens (
    hash bytea primary key,
    session_id uuid not null references sessions (id) on delete cascade,
    created_at timestamptz(3) not null default now(),
    expires_at timestamptz(3) not null,
    used_at timestamptz(3))`,
  'create index refresh_tokens_session_id_index on refresh_tokens (session_id)',
  'create index refresh_tokens_expires_at_index on refresh_tokens (expires_at)',

  `create table signing_keys (
    kid text primary key,
    public_jwk jsonb not null, private_jwk jsonb not null,
    created_at timestamptz(3) not null default now(), retired_at timestamptz(3))`,

  // Unlogged: a ticket lives for seconds, and one lost in a crash is simply asked for again.
  `create unlogged table ws_tickets (
    hash bytea primary key,
    user_id uuid not null, device_id uuid not null, session_id uuid not null,
    expires_at timestamptz(3) not null)`,
  'create index ws_tickets_expires_at_index on ws_tickets (expires_at)',

  `create table device_cursors (
    device_id uuid primary key, cursor bigint not null,
    updated_at timestamptz(3) not null default now()) with (fillfactor = 70)`,

  `create table conversations (
    id uuid primary key,
    type text not null check (type in ('direct', 'group', 'channel')),
    name text, description text,
    partition int not null, last_seq bigint not null default 0,
    created_by uuid not null,
    created_at timestamptz(3) not null, updated_at timestamptz(3) not null) with (fillfactor = 70)`,

  `create table members (
    conversation_id uuid not null, user_id uuid not null,
    role text not null check (role in ('owner', 'admin', 'member')),
    joined_seq bigint not null, left_seq bigint, read_seq bigint not null default 0,
    primary key (conversation_id, user_id)) with (fillfactor = 70)`,
  'create index members_user_id_index on members (user_id)',

  `create table messages (
    conversation_id uuid not null, seq bigint not null,
    id uuid not null, sender_id uuid not null, sender_device_id uuid not null,
    client_message_id text collate "C" not null,
    -- json, not jsonb: the literal stays as the device wrote it, byte for byte, and may hold \\u0000
    payload json, envelopes json, attachments json, reply_to uuid,
    sent_at timestamptz(3) not null,
    edited_at timestamptz(3), deleted_at timestamptz(3), expires_at timestamptz(3),
    primary key (conversation_id, seq),
    unique (sender_id, client_message_id))`,
  'create unique index messages_id_index on messages (id)',
  'create index messages_expires_at_index on messages (expires_at) where expires_at is not null',
  // json, not jsonb: a literal is kept as it came. Ciphertext does not compress, so don't try.
  'alter table messages alter payload set storage external, alter envelopes set storage external',

  `create table log_positions (partition int primary key, entry_seq bigint not null, stream text not null)`,
];

export class Start extends Migration {
  override up(): void {
    for (const statement of STATEMENTS) this.addSql(statement);
  }

  override down(): void {
    this.addSql(`drop table messages, members, conversations, log_positions, device_cursors, ws_tickets, signing_keys,
      refresh_tokens, sessions, devices, identifiers, users`);
  }
}
