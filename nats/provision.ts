/**
 * Provisions a deployment: `node nats/provision.ts` brings the broker to what topology specifies, and the database to the
 * newest schema and roles.
 */
import { type Config, readConfig } from '../shared/config/index.ts';
import { provisionBroker } from './provisioning/broker.ts';

const HELP = `node nats/provision.ts [--allow-loss] [--help]

Creates and updates the streams, durable consumers and buckets of nats/streams.ts and nats/buckets.ts on NATS_URL, as user admin
(NATS_SECRET), and brings the schema of DATABASE_URL up to date where that is set, with DATABASE_ROLES=true also a
database role for each service (see npm run compose-env). Differences that would lose data
are refused, naming stream and field; --allow-loss makes those that only delete old messages.
`;

/** Returns what it did, one line each; nothing where no database is set. */
async function provisionDatabase(config: Config): Promise<string[]> {
  if (!config.DATABASE_URL) return [];
  // Loaded only where a database is set: the modules bring the whole ORM with them.
  const { migrate } = await import('../shared/db/migrate.ts');
  const applied = await migrate(config);
  const done = applied.length ? applied.map((name) => `applied migration ${name}`) : ['the schema is up to date'];
  if (!config.DATABASE_ROLES) return done;
  const { grantRoles } = await import('../shared/db/roles.ts');
  return [...done, `granted the roles: ${(await grantRoles(config)).join(', ')}`];
}

if (import.meta.main) {
  const print = (lines: string[]): void => {
    for (const line of lines) process.stdout.write(`${line}\n`);
  };
  try {
    if (process.argv.includes('--help')) process.stdout.write(HELP);
    else {
      const config = readConfig();
      const done = await provisionBroker(config, { allowLoss: process.argv.includes('--allow-loss') });
      print(done.length ? done : ['the broker is up to date']);
      print(await provisionDatabase(config));
    }
  } catch (error) {
    process.stderr.write(`${(error as Error).message}\n`);
    process.exitCode = 1;
  }
}
