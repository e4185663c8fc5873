/**
 * Defines a database role for each service with the least privileges that it needs: `sealwire_edge` and so on.
 * `node nats/provision.ts` creates them where DATABASE_ROLES is on; a service uses its role by its DATABASE_URL.
 */
import { createHmac } from 'node:crypto';
import type { Config } from '../config/index.ts';
import { SERVICE_NAMES, type ServiceName } from '../service-names.ts';
import { openDatabase } from './database.ts';

const ALL = ['select', 'insert', 'update', 'delete'];
const READ = ['select'];
/** All columns but the push target. */
const DEVICES =
  'select (id, user_id, name, platform, created_at, last_seen, deleted_at, identity_key, signing_key, registration_id)';

/**
 * Privileges by table, which may be limited to columns. Tables that no service has here are for the `api` and provisioning.
 * An entity is selected with all of its columns (`entities.ts`), so a role with fewer columns must use SQL.
 */
const GRANTS: Record<Exclude<ServiceName, 'api'>, Record<string, string[]>> = {
  edge: {
    users: ['select (id, number, deleted_at, suspended_at)'],
    devices: [DEVICES],
    sessions: ['select (id, user_id, device_id, revoked_at)'],
    signing_keys: ['select (kid, public_jwk, created_at, retired_at)'],
    ws_tickets: ['select', 'delete'],
    device_cursors: ['select', 'insert', 'update'],
    device_presence: ['select', 'insert', 'update'],
    edge_leases: ALL,
    event_outbox: ['select', 'insert'],
    rate_limits: ALL,
    conversations: READ,
    members: READ,
    messages: READ,
  },
  ingest: {
    users: ['select (id, deleted_at)'],
    devices: [DEVICES],
    conversations: READ,
    members: READ,
    messages: ['select (id, conversation_id, seq, sender_id, client_message_id, sent_at)'],
    conversation_payments: READ,
    log_positions: READ,
  },
  fanout: {
    members: READ,
    devices: [DEVICES],
    device_cursors: READ,
  },
  history: {
    users: ['select (id, erased_at)', 'update (erased_at)'],
    conversations: ['select', 'insert', 'update'],
    members: ['select', 'insert', 'update'],
    messages: ['select', 'insert'],
    conversation_payments: ['select', 'insert', 'update'],
    log_positions: ['select', 'insert', 'update'],
  },
  events: { event_outbox: ['select', 'update', 'delete'] },
  webhook: {
    webhook_endpoints: ALL,
    webhook_events: ALL,
    webhook_deliveries: ALL,
    webhook_attempts: ALL,
    webhook_recoveries: ALL,
    event_outbox: ['select', 'insert'],
  },
  'payments-webhook': {
    payment_events: ['select', 'insert', 'update', 'delete'],
    payment_requests: ['select', 'insert', 'update'],
    payment_attachments: ['select', 'insert', 'update'],
    event_outbox: ['select', 'insert'],
  },
  push: {
    devices: [DEVICES, 'select (push)', 'update (push)'],
    device_cursors: READ,
    device_presence: ['select', 'update'],
    edge_leases: ['select', 'delete'],
    push_states: ALL,
    push_keys: ['select', 'insert'],
  },
};

export const roleOf = (service: ServiceName): string => `sealwire_${service.replaceAll('-', '_')}`;

/** Returns the hex HMAC-SHA256 of the role, as for the users of the broker: anyone with the secret can derive all of them. */
export const rolePassword = (secret: string, service: ServiceName): string =>
  createHmac('sha256', secret)
    .update(`postgres ${roleOf(service)}`)
    .digest('hex');

/** Returns the statements that give the roles exactly the privileges above, whatever they had before. */
function roleStatements(secret: string, database: string): string[] {
  const quoted = `"${database.replaceAll('"', '""')}"`;
  return SERVICE_NAMES.flatMap((service) => {
    const role = roleOf(service);
    return [
      `do $$ begin create role ${role}; exception when duplicate_object then null; end $$`,
      `alter role ${role} login nosuperuser nocreatedb nocreaterole noreplication password '${rolePassword(secret, service)}'`,
      `revoke all on all tables in schema public from ${role}`,
      `revoke all on all sequences in schema public from ${role}`,
      `grant connect on database ${quoted} to ${role}`,
      `grant usage on schema public to ${role}`,
      `grant usage on all sequences in schema public to ${role}`,
      ...(service === 'api'
        ? [
            `grant ${ALL.join(', ')} on all tables in schema public to ${role}`,
            `revoke insert, update, delete on mikro_orm_migrations from ${role}`,
          ]
        : [
            `grant select on mikro_orm_migrations to ${role}`,
            ...Object.entries(GRANTS[service]).map(
              ([table, privileges]) => `grant ${privileges.join(', ')} on ${table} to ${role}`,
            ),
          ]),
    ];
  });
}

/** Creates and changes the roles in one transaction. The user of DATABASE_URL must own the tables and may create roles. */
export async function grantRoles(config: Config): Promise<string[]> {
  if (!config.NATS_SECRET)
    throw new Error('NATS_SECRET is not set: the passwords of the database roles are derived from it');
  const db = await openDatabase(config);
  try {
    const [{ name }] = (await db.query<{ name: string }>('select current_database() as name')) as [{ name: string }];
    await db.transaction(async ({ query }) => {
      for (const statement of roleStatements(config.NATS_SECRET!, name)) await query(statement);
    });
    return SERVICE_NAMES.map(roleOf);
  } finally {
    await db.close();
  }
}
