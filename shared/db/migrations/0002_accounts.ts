import { Migration } from '@mikro-orm/migrations';

/** Adds columns for encrypted personal fields (shared/auth/encryption.ts); the api empties the former plain columns. */
const STATEMENTS = [
  `alter table users add name_sealed bytea, add birthdate_sealed bytea,
     add suspended_at timestamptz(3), add erased_at timestamptz(3)`,
  'create index users_to_erase_index on users (deleted_at) where deleted_at is not null and erased_at is null',

  `alter table identifiers add lookup bytea, add sealed bytea, add created_at timestamptz(3) not null default now()`,
  'alter table identifiers drop constraint identifiers_pkey',
  'alter table identifiers alter value drop not null',
  'alter table identifiers add constraint identifiers_lookup_unique unique (kind, lookup)',

  'alter table sessions add ip inet',
  'create index sessions_revoked_at_index on sessions (revoked_at) where revoked_at is not null',

  // A code that was sent and has not been entered yet; with what it completes, sealed.
  `create table codes (
    id uuid primary key,
    purpose text not null check (purpose in ('verify', 'login')),
    kind text not null check (kind in ('phone', 'email')),
    lookup bytea not null, code bytea not null, pending bytea,
    tries int not null default 0,
    created_at timestamptz(3) not null default now(), expires_at timestamptz(3) not null)`,
  `create unique index codes_login_index on codes (kind, lookup) where purpose = 'login'`,
  'create index codes_expires_at_index on codes (expires_at)',

  // As rate-limiter-flexible wants it; expire in ms since 1970.
  'create table rate_limits (key text primary key, points int not null default 0, expire bigint) with (fillfactor = 70)',
  'create index rate_limits_expire_index on rate_limits (expire)',
];

export class Accounts extends Migration {
  override up(): void {
    for (const statement of STATEMENTS) this.addSql(statement);
  }

  override down(): void {
    this.addSql('drop table rate_limits, codes');
    this.addSql('alter table sessions drop ip');
    this.addSql('alter table users drop name_sealed, drop birthdate_sealed, drop suspended_at, drop erased_at');
    this.addSql('alter table identifiers drop lookup, drop sealed, drop created_at');
  }
}
