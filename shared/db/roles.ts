/**
 * A database role for each service with the least that it needs: `sealwire_edge` and so on. `node nats/provision.ts` makes
 * them where DATABASE_ROLES is on; a service uses its own by its DATABASE_URL.
 */
import { createHmac } from 'node:crypto';
import type { Config } from '../config/index.ts';
import { SERVICE_NAMES, type ServiceName } from '../service-names.ts';
import { openDatabase } from './database.ts';

const ALL = ['select', 'insert', 'update', 'delete'];
const READ = ['select'];
/** All but where a device is woken. */
const DEVICES =
  'select (id, user_id, name, platform, created_at, last_seen, deleted_at, identity_key, signing_key, registration_id)';

/** By table; privileges may be limited to columns. What stands for no service is for the `api` and for provisioning. */
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

/** Hex HMAC-SHA256 of the role, as the passwords of the broker's users are made: whoever has the secret can make them all. */
export const rolePassword = (secret: string, service: ServiceName): string =>
  createHmac('sha256', secret)
    .update(`postgres ${roleOf(service)}`)
    .digest('hex');

/** The statements that bring the roles to what stands above, whatever they were before. */
export function roleStatements(secret: string, database: string): string[] {
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

/** Makes and changes the roles, in one transaction; the user of DATABASE_URL must own the tables and may create roles. */
export async function grantRoles(config: Config): Promise<string[]> {
  if (!config.NATS_SECRET)
    throw new Error('NATS_SECRET is not set: the passwords of the database roles follow from it');
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
