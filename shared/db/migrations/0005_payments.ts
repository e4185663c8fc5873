import { Migration } from '@mikro-orm/migrations';

const STATEMENTS = [
  // Never swept: an event repeated after a year is still the same event.
  `create table payment_events (
    id uuid primary key,
    dedupe_key text collate "C" not null unique,
    type text not null, request_id text collate "C" not null, transfer_id text, conversation_id uuid,
    state text not null,
    -- whether it moved its request forward
    moved boolean not null,
    received_at timestamptz(3) not null, applied_at timestamptz(3))`,
  'create index payment_events_request_id_index on payment_events (request_id)',
  'create index payment_events_received_at_index on payment_events (received_at, id)',

  `create table payment_requests (
    request_id text collate "C" primary key,
    state text not null, rank smallint not null, transfer_id text,
    created_at timestamptz(3) not null, updated_at timestamptz(3) not null)`,

  `create table payment_attachments (
    request_id text collate "C" not null, conversation_id uuid not null,
    attached_by uuid, created_at timestamptz(3) not null default now(),
    primary key (request_id, conversation_id))`,

  // What the log says: a projection, written by history.
  `create table conversation_payments (
    conversation_id uuid not null, request_id text collate "C" not null,
    state text not null, rank smallint not null, transfer_id text,
    seq bigint not null, updated_at timestamptz(3) not null,
    primary key (conversation_id, request_id))`,
];

export class Payments extends Migration {
  override up(): void {
    for (const statement of STATEMENTS) this.addSql(statement);
  }

  override down(): void {
    this.addSql('drop table conversation_payments, payment_attachments, payment_requests, payment_events');
  }
}
