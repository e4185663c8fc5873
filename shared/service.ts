/** The interface between a service and the process that runs it. `services/main.ts` opens and closes services in order. */
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
  /** The open services of this process, for /ready. */
  services: ReadonlyMap<ServiceName, Service>;
  /** Connects as the NATS user of that service. The owner of the context closes the connection. */
  connect(service: ServiceName): Promise<NatsConnection>;
}

export interface Service {
  /** @returns true once requests would succeed or messages are pulled; otherwise the reason, for /ready. */
  ready(): true | string;
  /**
   * @returns since when the broker answers and yet refuses all writes and reads of this service (ms since 1970), as it does
   * after its disk was full; undefined while it serves, and while it does not answer at all.
   */
  brokerRefusesSince?(): number | undefined;
  /** Addresses to print, e.g. `{ api: 'http://127.0.0.1:8080' }`. */
  addresses?: Record<string, string>;
  /** Accepts no more work, finishes the work under way, and releases everything. */
  close(): Promise<void>;
}

/** The default export of a service's `index.ts`. */
export interface ServiceDefinition {
  open(context: Context): Promise<Service>;
}
