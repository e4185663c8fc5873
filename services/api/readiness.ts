/** Watches whether requests would succeed: the broker connection, Postgres, and the list of ended sessions. */
import type { NatsConnection } from 'nats';
import type { Revocations } from '../../nats/revocations.ts';
import { startPeriodicTask } from '../../shared/async/periodic-task.ts';
import type { Database } from '../../shared/db/database.ts';

const PROBE_EVERY_MS = 1_000;

export interface Readiness {
  /** True, or the reason why requests would fail. */
  state(): true | string;
  /** From now on the state is `closing`. */
  close(): void;
}

/** Resolves after the first probe of Postgres. */
export async function openReadiness(nc: NatsConnection, db: Database, revocations: Revocations): Promise<Readiness> {
  let postgres: true | string = 'Postgres was not probed yet';
  let closing = false;
  const probing = startPeriodicTask(
    async () => {
      if (nc.isClosed()) return;
      await db.query('select 1');
      postgres = true;
    },
    {
      everyMs: PROBE_EVERY_MS,
      onError: () => {
        postgres = 'Postgres cannot be reached';
      },
    },
  );
  await probing.run();

  return {
    state() {
      if (closing) return 'closing';
      if (nc.isClosed()) return 'the broker connection is closed';
      if (postgres !== true) return postgres;
      return revocations.isKnown || 'the list of ended sessions was not read yet';
    },
    close() {
      closing = true;
      void probing.close();
    },
  };
}
