import { Migration } from '@mikro-orm/migrations';

const DEVICE_EVENTS = `create function device_events() returns trigger language plpgsql as $body$
  declare about json; gone boolean;
  begin
    if tg_op = 'INSERT' then
      insert into event_outbox (type, data) values ('device.added',
        json_build_object('user_id', new.user_id, 'device_id', new.id, 'platform', new.platform));
      return null;
    end if;
    about := json_build_object('user_id', old.user_id, 'device_id', old.id);
    gone := tg_op = 'DELETE';
    if gone then
      if old.deleted_at is not null then return null; end if;
    else
      gone := new.deleted_at is not null and old.deleted_at is null;
    end if;
    if gone then
      insert into event_outbox (type, data) values ('device.removed', about);
    elsif new.identity_key is distinct from old.identity_key then
      insert into event_outbox (type, data) values ('device.keys_changed', about);
    end if;
    return null;
  end $body$`;

const STATEMENTS = [
  `create table event_outbox (
    seq bigserial primary key,
    id uuid, type text not null, conversation_id uuid,
    at timestamptz(3) not null default now(),
    data json not null)`,
  DEVICE_EVENTS,
  `create trigger device_events after insert or delete or update of identity_key, deleted_at on devices
    for each row execute function device_events()`,

  `create table service_tokens (
    id uuid primary key, hash bytea not null unique,
    name text not null, scopes text[] not null,
    created_at timestamptz(3) not null default now(), expires_at timestamptz(3))`,

  // Columns that end in _sealed are encrypted with WEBHOOK_SECRETS_KEYS.
  `create table webhook_endpoints (
    id uuid primary key,
    url text not null, description text, source text not null default 'api' check (source in ('api', 'environment')),
    event_types text[], conversation_id uuid, ordered boolean not null default false, max_per_sec int,
    enabled boolean not null default true, disabled_reason text, failing_since timestamptz(3),
    header_names text[] not null default '{}', headers_sealed bytea, secret_sealed bytea not null, public_key text not null,
    old_secret_sealed bytea, old_secret_until timestamptz(3),
    paced_until timestamptz(3),
    version int not null default 1,
    created_at timestamptz(3) not null default now(), updated_at timestamptz(3) not null default now())
    with (fillfactor = 70)`,

  `create table webhook_events (
    id uuid primary key, type text not null, conversation_id uuid,
    at timestamptz(3) not null, body text not null)`,
  'create index webhook_events_at_index on webhook_events (at)',

  // next_at: -infinity at once; infinity behind another one of its conversation. A claim moves it to the claim's end.
  `create table webhook_deliveries (
    endpoint_id uuid not null, event_id uuid not null,
    seq bigserial not null, conversation_id uuid,
    status text not null default 'pending' check (status in ('pending', 'delivered', 'dead')),
    attempts int not null default 0, next_at timestamptz(3) not null, claim uuid,
    created_at timestamptz(3) not null default now(), finished_at timestamptz(3),
    last_status int, last_error text,
    primary key (endpoint_id, event_id)) with (fillfactor = 70)`,
  `create index webhook_deliveries_due_index on webhook_deliveries (endpoint_id, next_at, seq) where status = 'pending'`,
  `create index webhook_deliveries_order_index on webhook_deliveries (endpoint_id, conversation_id, seq)
    where status = 'pending' and conversation_id is not null`,
  'create index webhook_deliveries_log_index on webhook_deliveries (endpoint_id, seq)',
  `create index webhook_deliveries_dead_index on webhook_deliveries (endpoint_id, seq) where status = 'dead'`,
  `create index webhook_deliveries_finished_index on webhook_deliveries (finished_at) where status <> 'pending'`,

  `create table webhook_attempts (
    id uuid primary key,
    endpoint_id uuid not null, event_id uuid not null, attempt int not null,
    at timestamptz(3) not null, duration_ms int not null,
    outcome text not null, status int, error text, response text)`,
  'create index webhook_attempts_endpoint_index on webhook_attempts (endpoint_id, id)',
  'create index webhook_attempts_at_index on webhook_attempts (at)',

  `create table webhook_recoveries (
    id uuid primary key, endpoint_id uuid not null references webhook_endpoints (id) on delete cascade,
    since timestamptz(3) not null, until timestamptz(3) not null,
    position bigint, recovered bigint not null default 0,
    created_at timestamptz(3) not null default now(), done_at timestamptz(3))`,
  'create index webhook_recoveries_waiting_index on webhook_recoveries (id) where done_at is null',
];

export class Webhooks extends Migration {
  override up(): void {
    for (const statement of STATEMENTS) this.addSql(statement);
  }

  override down(): void {
    this.addSql(`drop table webhook_recoveries, webhook_attempts, webhook_deliveries, webhook_events, webhook_endpoints,
      service_tokens`);
    this.addSql('drop trigger device_events on devices');
    this.addSql('drop function device_events()');
    this.addSql('drop table event_outbox');
  }
}
