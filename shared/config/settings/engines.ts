import { isAbsolute, resolve } from 'node:path';
import { choice, count, flag, list, optional, type Setting, text } from '../kinds.ts';

/** Settings: Addresses and engines. */
export const ENGINES = {
  HOST: text('127.0.0.1', 'Address that the API and the edge listen on.'),
  PORT: count(8080, 'Port of the HTTP API; 0 lets the kernel choose.'),
  EDGE_PORT: count(8081, 'Port of the WebSocket edge; 0 lets the kernel choose.'),
  OPS_HOST: text('127.0.0.1', 'Address that /health, /ready with its reasons and /metrics of a process listen on.'),
  OPS_PORT: count(
    0,
    'Their port, one for each process; 0 lets the kernel choose. npm start gives its processes this one and those after it.',
  ),
  TRUSTED_PROXIES: list(
    'Networks of proxies whose X-Forwarded-For the API and the edge believe, e.g. 10.1.0.0/16,fd00::/8; the right-most address that is in none of them is the client.',
  ),
  DATA_DIR: {
    ...text('./data', 'Everything that lasts in the embedded default.'),
    parse: (t: string) => (isAbsolute(t) ? t : resolve(t)),
  },
  NATS_URL: optional('Use this NATS server instead of the embedded one.'),
  NATS_SECRET: optional(
    'From this secret follow the NATS passwords of all services; generated in the embedded default. Only nats/conf.ts and nats/provision.ts need it where each service has its NATS_PASSWORD.',
  ),
  NATS_PASSWORD: optional('NATS password of the one service of this process, in place of NATS_SECRET.'),
  NATS_MAX_FILE_STORE: optional(
    'How much the streams may take on the disk of the broker, e.g. 20GB; else three quarters of what was free when it was first started.',
  ),
  BROKER_REFUSES_MS: count(
    10_000,
    'How long the embedded broker may refuse what services publish (its disk was full) before it is restarted.',
    100,
  ),
  BROKER_RESTART_APART_MS: count(60_000, 'Two such restarts of the embedded broker are at least so far apart.', 0),
  NATS_SERVER_BIN: optional('The nats-server binary to embed (2.14 or newer).'),
  DATABASE_URL: optional('Use this Postgres instead of the embedded one.'),
  DATABASE_ROLES: flag(
    false,
    'nats/provision.ts also makes a database role for each service, with what it needs and a password that follows from NATS_SECRET.',
  ),
  DATABASE_POOL: count(8, 'Connections to Postgres per process.', 1),
  DATABASE_CONNECT_TIMEOUT_MS: count(5_000, 'How long a statement waits for a connection to Postgres.', 100),
  DATABASE_IDLE_TRANSACTION_MS: count(
    15_000,
    'How long a process that stands still in a transaction keeps its locks from the others; 0 for ever.',
  ),
  DATABASE_QUERY_TIMEOUT_MS: count(30_000, 'How long a statement may take before it is given up; 0 for ever.'),
  DURABILITY: choice('durable', ['durable', 'fast'], 'Profile of the broker: fsync before acknowledging, or not.'),
  ALLOW_FAST: flag(false, 'Allow the fast profile in production.'),
  NODE_ENV: text('development', 'production refuses generated secrets, open CORS, query tokens and the fast profile.'),
  LOG_LEVEL: text('info', 'pino level.'),
} as const satisfies Record<string, Setting<unknown>>;
