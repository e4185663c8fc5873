import type { Logger } from 'pino';
import type { Config } from '../../../shared/config/index.ts';
import type { Database } from '../../../shared/db/database.ts';
import { isTransient } from '../../../shared/transient.ts';

const EVERY_MS = 60_000;
type Terms = Pick<Config, 'PREKEY_MEMORY_DAYS' | 'ACCESS_TOKEN_EXPIRE_MINUTES'>;
const statements = ({ PREKEY_MEMORY_DAYS, ACCESS_TOKEN_EXPIRE_MINUTES }: Terms): string[] => [
  'delete from ws_tickets where expires_at < now()',
  'delete from codes where expires_at < now()',
  'delete from rate_limits where expire < extract(epoch from now()) * 1000',
  // In bites, so that a long neglected table holds up nobody.
  `delete from refresh_tokens where hash in
     (select hash from refresh_tokens where expires_at < now() limit 10000)`,
  `delete from prekeys where claimed_at < now() - make_interval(days => ${PREKEY_MEMORY_DAYS})`,
  // Nothing that it signed is valid any more, by far.
  `delete from signing_keys where retired_at < now() - make_interval(days => 1, mins => ${ACCESS_TOKEN_EXPIRE_MINUTES})`,
];

/** Throws away what has expired, now and then. Several processes may do it at once. */
export function sweepExpired(db: Database, log: Logger, config: Terms): { stop(): Promise<void> } {
  let running: Promise<void> = Promise.resolve();
  const sweep = async (): Promise<void> => {
    try {
      for (const statement of statements(config)) await db.query(statement);
    } catch (error) {
      if (!isTransient(error)) log.error({ unit: 'sweep', err: error });
    }
  };
  const timer = setInterval(() => {
    running = sweep();
  }, EVERY_MS).unref();
  return {
    stop() {
      clearInterval(timer);
      return running;
    },
  };
}
