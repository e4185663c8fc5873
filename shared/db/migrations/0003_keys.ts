import { Migration } from '@mikro-orm/migrations';

/**
 * Keys of devices. The key log is written by a trigger, in the transaction that changes a device: whichever statement of
 * whichever service does it, there is no change without its link.
 */
const STATEMENTS = [
  'alter table devices add signing_key text',
  'alter table messages add signature text',

  `create table prekeys (
    device_id uuid not null references devices (id) on delete cascade,
    role text not null check (role in ('signed', 'one_time', 'last_resort')),
    kind text collate "C" not null, key_id text collate "C" not null,
    -- in the order of upload
    n bigint not null generated always as identity,
    -- null once it was handed out; the row stays for a while, so that a repeated upload can't bring the key back
    public_key text, signature text,
    created_at timestamptz(3) not null default now(), claimed_at timestamptz(3),
    primary key (device_id, role, kind, key_id),
    check ((public_key is null) = (claimed_at is not null)))`,
  `create index prekeys_oldest_index on prekeys (device_id, kind, n) where role = 'one_time' and claimed_at is null`,
  `create unique index prekeys_single_index on prekeys (device_id, role, kind) where role <> 'one_time'`,
  'create index prekeys_claimed_at_index on prekeys (claimed_at) where claimed_at is not null',

  // When a device was last told that its one-time keys of a kind run low.
  `create table prekey_alarms (
    device_id uuid not null references devices (id) on delete cascade,
    kind text collate "C" not null, told_at timestamptz(3) not null,
    primary key (device_id, kind))`,

  `create table key_backups (
    user_id uuid primary key references users (id) on delete cascade,
    data text, version bigint not null, updated_at timestamptz(3) not null default now())`,
  'alter table key_backups alter data set storage external',

  `create table key_log (
    user_id uuid not null references users (id) on delete cascade, n int not null,
    device_id uuid not null, action text not null check (action in ('added', 'changed', 'removed')),
    entry text not null, hash text not null,
    created_at timestamptz(3) not null default now(),
    -- when conversation partners were told
    told_at timestamptz(3),
    primary key (user_id, n))`,
  'create index key_log_untold_index on key_log (created_at) where told_at is null',

  `create function append_key_log(action text, d devices, told boolean) returns void language plpgsql as $$
  declare
    head record;
    said text;
  begin
    perform pg_advisory_xact_lock(hashtextextended('key_log ' || d.user_id::text, 0));
    select n, hash into head from key_log where user_id = d.user_id order by n desc limit 1;
    said := json_build_object(
      'n', coalesce(head.n, 0) + 1,
      'at', to_char(now() at time zone 'utc', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'),
      'user_id', d.user_id, 'action', action, 'device_id', d.id,
      'identity_key', d.identity_key, 'signing_key', d.signing_key, 'registration_id', d.registration_id)::text;
    insert into key_log (user_id, n, device_id, action, entry, hash, told_at) values (
      d.user_id, coalesce(head.n, 0) + 1, d.id, action, said,
      encode(sha256(convert_to(coalesce(head.hash, repeat('0', 64)) || chr(10) || said, 'UTF8')), 'hex'),
      -- Nobody knows a person yet whose first device this is.
      case when told or head.n is null then now() end);
  end $$`,
  `create function log_device_keys() returns trigger language plpgsql as $$
  begin
    if tg_op = 'INSERT' then
      perform append_key_log('added', new, false);
    elsif new.deleted_at is not null and old.deleted_at is null then
      perform append_key_log('removed', new, false);
    elsif new.deleted_at is null and (new.identity_key, new.signing_key, new.registration_id)
        is distinct from (old.identity_key, old.signing_key, old.registration_id) then
      perform append_key_log('changed', new, false);
    end if;
    return null;
  end $$`,
  `create trigger log_device_keys after insert or update of identity_key, signing_key, registration_id, deleted_at
    on devices for each row execute function log_device_keys()`,
  `select append_key_log('added', d, true) from (select * from devices where deleted_at is null order by id) d`,
];

export class Keys extends Migration {
  override up(): void {
    for (const statement of STATEMENTS) this.addSql(statement);
  }

  override down(): void {
    this.addSql('drop trigger log_device_keys on devices');
    this.addSql('drop function log_device_keys, append_key_log');
    this.addSql('drop table key_log, key_backups, prekey_alarms, prekeys');
    this.addSql('alter table devices drop signing_key');
    this.addSql('alter table messages drop signature');
  }
}
