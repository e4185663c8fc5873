import { Migration } from '@mikro-orm/migrations';

const STATEMENTS = [
  // Unlogged: after a crash of Postgres every edge writes anew who is there.
  `create unlogged table edge_leases (edge_id uuid primary key, seen_at timestamptz not null)`,
  // edge_id is null from when its last socket closed.
  `create unlogged table device_presence (
    device_id uuid primary key, edge_id uuid, since timestamptz(3) not null) with (fillfactor = 70)`,
  'create index device_presence_edge_id_index on device_presence (edge_id) where edge_id is not null',
  'create index device_presence_since_index on device_presence (since) where edge_id is null',

  // Only of devices that have something waiting, were woken, or are muted.
  `create table push_states (
    device_id uuid primary key references devices (id) on delete cascade,
    muted_until timestamptz(3),
    -- when it left, of the absence that the rest speaks of
    absence timestamptz(3), wakes int not null default 0, tries int not null default 0,
    next_at timestamptz(3), woken_at timestamptz(3)) with (fillfactor = 70)`,
  'create index push_states_next_at_index on push_states (next_at) where next_at is not null',
  'create index devices_push_index on devices (id) where push is not null and deleted_at is null',

  `create table push_keys (
    kind text primary key, public_key text not null, private_key text not null,
    created_at timestamptz(3) not null default now())`,
];

export class Push extends Migration {
  override up(): void {
    for (const statement of STATEMENTS) this.addSql(statement);
  }

  override down(): void {
    this.addSql('drop index devices_push_index');
    this.addSql('drop table push_keys, push_states, device_presence, edge_leases');
  }
}
