/** Migrates the schema, and refuses to run on a schema that lacks migrations. */
import { Migrator } from '@mikro-orm/migrations';
import type { Logger } from 'pino';
import type { Config } from '../config/index.ts';
import { type Database, openOrm, type Pool } from './database.ts';
import { Start } from './migrations/0001_start.ts';
import { Accounts } from './migrations/0002_accounts.ts';
import { Keys } from './migrations/0003_keys.ts';
import { Webhooks } from './migrations/0004_webhooks.ts';
import { Payments } from './migrations/0005_payments.ts';
import { Push } from './migrations/0006_push.ts';
import { SealedSigningKeys } from './migrations/0007_sealed_signing_keys.ts';
import { ClientIdsByConversation } from './migrations/0008_client_ids.ts';
import { PaymentParties } from './migrations/0010_payment_parties.ts';

/** In order of application. A released migration is never changed. */
const MIGRATIONS = [
  { name: '0001_start', class: Start },
  { name: '0002_accounts', class: Accounts },
  { name: '0003_keys', class: Keys },
  { name: '0004_webhooks', class: Webhooks },
  { name: '0005_payments', class: Payments },
  { name: '0006_push', class: Push },
  { name: '0007_sealed_signing_keys', class: SealedSigningKeys },
  { name: '0008_client_ids', class: ClientIdsByConversation },
  { name: '0010_payment_parties', class: PaymentParties },
];
/** Any number that nothing else in this database locks. */
const MIGRATION_LOCK = 7_325_909_201;

/**
 * Brings the schema up to date and returns the names of the migrations that this call applied. Processes that start at
 * once take turns on an advisory lock, so all but the first find nothing to do.
 */
export async function migrate(config: Config, log?: Logger): Promise<string[]> {
  const orm = await openOrm({ ...config, DATABASE_POOL: 2, DATABASE_QUERY_TIMEOUT_MS: 0 }, log, {
    extensions: [Migrator],
    migrations: { migrationsList: MIGRATIONS, snapshot: false, silent: true },
  });
  try {
    const pool = (await orm.driver.getConnection().getNativeClient()) as Pool;
    const client = await pool.connect();
    try {
      await client.query({ text: 'select pg_advisory_lock($1)', values: [MIGRATION_LOCK] });
      const applied = await orm.migrator.up();
      const names = applied.map((migration) => migration.name);
      if (names.length) log?.info({ unit: 'migrate', applied: names }, 'database schema brought up to date');
      return names;
    } finally {
      // Ending the connection is what frees the lock, whatever state it is in.
      client.release(true);
    }
  } finally {
    await orm.close(true);
  }
}

const UNDEFINED_TABLE = '42P01';

/** @throws when the schema is older than this code, with the remedy. Does not throw when Postgres cannot be reached */
export async function requireSchema({ query }: Database): Promise<void> {
  let applied: string[];
  try {
    applied = (await query<{ name: string }>('select name from mikro_orm_migrations')).map(({ name }) => name);
  } catch (error) {
    if ((error as { code?: string }).code !== UNDEFINED_TABLE) return;
    applied = [];
  }
  const missing = MIGRATIONS.filter(({ name }) => !applied.includes(name)).map(({ name }) => name);
  if (missing.length)
    throw new Error(
      `the database lacks ${missing.join(', ')}: run node nats/provision.ts with the same NATS_URL and DATABASE_URL first`,
    );
}
