/** Deletes rows that have expired: tickets, codes, counters of attempts, refresh tokens, claimed prekeys, signing keys. */
import type { Logger } from 'pino';
import { type PeriodicTask, startPeriodicTask } from '../../../shared/async/periodic-task.ts';
import type { Config } from '../../../shared/config/index.ts';
import type { Database } from '../../../shared/db/database.ts';
import { isTransient } from '../../../shared/transient.ts';

const EVERY_MS = 60_000;
type ExpiryConfig = Pick<Config, 'PREKEY_MEMORY_DAYS' | 'ACCESS_TOKEN_EXPIRE_MINUTES'>;
const statements = ({ PREKEY_MEMORY_DAYS, ACCESS_TOKEN_EXPIRE_MINUTES }: ExpiryConfig): string[] => [
  'delete from ws_tickets where expires_at < now()',
  'delete from codes where expires_at < now()',
  'delete from rate_limits where expire < extract(epoch from now()) * 1000',
  // In batches, so that a table that was not cleaned for long delays no other statement.
  `delete from refresh_tokens where hash in
     (select hash from refresh_tokens where expires_at < now() limit 10000)`,
  `delete from prekeys where claimed_at < now() - make_interval(days => ${PREKEY_MEMORY_DAYS})`,
  // A day later than the last token that it signed has expired.
  `delete from signing_keys where retired_at < now() - make_interval(days => 1, mins => ${ACCESS_TOKEN_EXPIRE_MINUTES})`,
];

/** Starts the deletion, once a minute. Several processes may run it at once. */
export function startExpiry(db: Database, log: Logger, config: ExpiryConfig): Pick<PeriodicTask, 'close'> {
  return startPeriodicTask(
    async () => {
      for (const statement of statements(config)) await db.query(statement);
    },
    {
      everyMs: EVERY_MS,
      onError(error) {
        if (!isTransient(error)) log.error({ unit: 'sweep', err: error });
      },
    },
  );
}
