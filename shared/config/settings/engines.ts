import { isAbsolute, resolve } from 'node:path';
import { advanced, choice, count, flag, list, optional, type Setting, text } from '../kinds.ts';

/** Settings of addresses and of the engines: broker and database. */
export const ENGINES = {
  HOST: text('127.0.0.1', 'Address that the API and the edge listen on.'),
  PORT: count(8080, 'Port of the HTTP API; 0 lets the kernel choose.'),
  EDGE_PORT: count(8081, 'Port of the WebSocket edge; 0 lets the kernel choose.'),
  OPS_HOST: text(
    '127.0.0.1',
    'Address on which each process serves /health, /metrics, and /ready with its reasons, to operators only.',
  ),
  OPS_PORT: count(
    0,
    'Port of OPS_HOST, another one for each process of a machine; 0 lets the kernel choose. npm start gives its processes this port and the next ones.',
  ),
  TRUSTED_PROXIES: list(
    'Networks of the proxies whose X-Forwarded-For the API and the edge believe, e.g. 10.1.0.0/16,fd00::/8. The right-most address outside of them is the client.',
  ),
  DATA_DIR: {
    ...text('./data', 'Directory of all data of npm start: broker, database, secrets.'),
    parse: (t: string) => (isAbsolute(t) ? t : resolve(t)),
  },
  NATS_URL: optional('NATS server to use; npm start then starts none.'),
  NATS_SECRET: optional(
    'Secret from which the NATS passwords of all services are derived. npm start generates one. Where each service has its NATS_PASSWORD, only nats/conf.ts and nats/provision.ts need it.',
  ),
  NATS_PASSWORD: optional('NATS password of the one service of this process, in place of NATS_SECRET.'),
  NATS_MAX_FILE_STORE: optional(
    'Most that the streams may take on the disk of the broker, e.g. 20GB. By default three quarters of what is free at its first start.',
  ),
  NATS_SERVER_BIN: optional('nats-server binary that npm start runs (2.14 or newer).'),
  DATABASE_URL: optional('Postgres to use; npm start then starts none.'),
  DATABASE_ROLES: flag(
    false,
    'nats/provision.ts also makes a database role for each service, with the least privileges and a password derived from NATS_SECRET.',
  ),
  DATABASE_POOL: count(8, 'Connections to Postgres per process.', 1),
  DURABILITY: choice(
    'durable',
    ['durable', 'fast'],
    'durable: the broker fsyncs before it acknowledges. fast: it does not, so a power cut can lose messages.',
  ),
  ALLOW_FAST: flag(false, 'Allow DURABILITY=fast in production.'),
  NODE_ENV: text(
    'development',
    'production refuses generated secrets, origins of *, tokens in URLs and the fast profile.',
  ),
  LOG_LEVEL: text('info', 'Least level that is logged: trace, debug, info, warn, error, fatal or silent.'),
  ...advanced({
    BROKER_REFUSES_MS: count(
      10_000,
      'How long the broker of npm start may refuse what services publish (its disk was full), ms, before it is restarted.',
      100,
    ),
    BROKER_RESTART_APART_MS: count(60_000, 'Least time between two such restarts of the broker, ms.', 0),
    DATABASE_CONNECT_TIMEOUT_MS: count(
      5_000,
      'How long a statement waits for a connection to Postgres, ms, before it fails.',
      100,
    ),
    DATABASE_IDLE_TRANSACTION_MS: count(
      15_000,
      'How long a transaction may stand idle, ms, before Postgres ends it, so that a frozen process does not keep its locks; 0 for no limit.',
    ),
    DATABASE_QUERY_TIMEOUT_MS: count(30_000, 'How long a statement may take, ms, before it fails; 0 for no limit.'),
  }),
} as const satisfies Record<string, Setting<unknown>>;
