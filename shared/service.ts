/** What a service is, and what it is given. `services/main.ts` opens and closes them in order. */
import type { NatsConnection } from 'nats';
import type { Logger } from 'pino';
import type { Config } from './config/index.ts';
import type { Database } from './db/database.ts';
import type { Metrics } from './metrics.ts';
import type { ServiceName } from './service-names.ts';

export interface Context {
  config: Config;
  log: Logger;
  metrics: Metrics;
  db: Database;
  /** The services of this process that are open, for /ready. */
  services: ReadonlyMap<ServiceName, Service>;
  /** A connection as that service's NATS user, closed by whoever opened the context. */
  connect(service: ServiceName): Promise<NatsConnection>;
}

export interface Service {
  /** True once requests would succeed or messages are being pulled; otherwise the reason, for /ready. */
  ready(): true | string;
  /**
   * Since when the broker has answered and yet refused everything that this service wanted to write or read (ms since
   * 1970), as it does after its disk was full; undefined while it serves, and while it does not answer at all.
   */
  brokerRefusesSince?(): number | undefined;
  /** Addresses worth printing, e.g. `{ api: 'http://127.0.0.1:8080' }`. */
  addresses?: Record<string, string>;
  /** Stops taking work, finishes what is in hand, lets go of everything. */
  close(): Promise<void>;
}

export interface ServiceDefinition {
  name: ServiceName;
  about: string;
  open(context: Context): Promise<Service>;
}
