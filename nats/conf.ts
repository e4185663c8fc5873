/** Prints the configuration for a broker of your own: `npm run nats-conf`. */
import { type Config, readConfig } from '../shared/config/index.ts';
import { type ClusterConf, renderNatsConf } from './broker-conf.ts';
import { permissions } from './permissions.ts';

const HELP = `npm run nats-conf [-- --help]

Prints a nats-server configuration with one user per service (${Object.keys(permissions({ PARTITIONS: 1, INBOX_SHARDS: 1 })).join(', ')}) and only
that service's subjects. The passwords are hex HMAC-SHA256(NATS_SECRET, user); the file holds them, keep it private.

  NATS_SECRET       needed
  DURABILITY        durable (fsync before acknowledging, the default) or fast
  NATS_LISTEN       0.0.0.0:4222
  NATS_STORE_DIR    /data/jetstream
  NATS_HTTP         monitoring, e.g. 127.0.0.1:8222; none unless set
  NATS_TLS_CERT, NATS_TLS_KEY, NATS_TLS_CA   paths as the broker sees them; TLS is off unless set
  NATS_MAX_FILE_STORE   how much the streams may take, e.g. 20GB; by default three quarters of the free disk

  NATS_SECRET=… npm run --silent nats-conf > nats.conf && nats-server -c nats.conf

One node of a cluster, each with a configuration of its own (the same NATS_SECRET, then STREAM_REPLICAS=3 for provisioning):

  NATS_CLUSTER_NAME     makes it one, e.g. sealwire
  NATS_SERVER_NAME      of this node, another one for each; needed
  NATS_CLUSTER_LISTEN   where the other nodes reach it, 0.0.0.0:6222
  NATS_CLUSTER_ROUTES   the cluster listeners of all nodes, host:port with commas between; needed
`;

const ROUTE = /^[^\s:/@]+:\d+$|^\[[\da-f:]+\]:\d+$/i;

/** @throws when the settings of a cluster's node are incomplete */
function clusterOf(config: Config): ClusterConf | undefined {
  const { NATS_CLUSTER_NAME, NATS_CLUSTER_LISTEN, NATS_CLUSTER_ROUTES, NATS_SERVER_NAME } = config;
  if (!NATS_CLUSTER_NAME) {
    if (NATS_CLUSTER_ROUTES) throw new Error('NATS_CLUSTER_ROUTES is set, NATS_CLUSTER_NAME is not: set both');
    return undefined;
  }
  if (!NATS_SERVER_NAME)
    throw new Error('NATS_SERVER_NAME is not set: give each node of the cluster a name of its own');
  const routes = (NATS_CLUSTER_ROUTES ?? '').split(',').filter(Boolean);
  const wrong = routes.find((route) => !ROUTE.test(route));
  if (!routes.length || wrong)
    throw new Error(
      `NATS_CLUSTER_ROUTES must be host:port of every node, with commas between, e.g. nats-1:6222,nats-2:6222${wrong ? `; ${wrong} is not` : ''}`,
    );
  return { name: NATS_CLUSTER_NAME, listen: NATS_CLUSTER_LISTEN, routes };
}

/** Returns the configuration that an environment asks for, see HELP. @throws with the variable that is missing or wrong */
export function natsConfFromEnv(env: NodeJS.ProcessEnv): string {
  const config = readConfig(env);
  if (!config.NATS_SECRET)
    throw new Error('NATS_SECRET is not set: choose a long random one, e.g. `openssl rand -hex 32`');
  const cluster = clusterOf(config);
  const { NATS_TLS_CERT: cert, NATS_TLS_KEY: key, NATS_TLS_CA: ca, NATS_HTTP, NATS_MAX_FILE_STORE } = config;
  return renderNatsConf({
    name: config.NATS_SERVER_NAME ?? 'sealwire',
    listen: config.NATS_LISTEN,
    storeDir: config.NATS_STORE_DIR,
    secret: config.NATS_SECRET,
    durability: config.DURABILITY,
    sharding: config,
    ...(cluster ? { cluster } : {}),
    ...(NATS_MAX_FILE_STORE ? { maxFileStore: NATS_MAX_FILE_STORE } : {}),
    ...(NATS_HTTP ? { http: NATS_HTTP } : {}),
    ...(cert && key ? { tls: { cert, key, ...(ca ? { ca } : {}) } } : {}),
  });
}

if (import.meta.main) {
  try {
    const help = process.argv.includes('--help') || process.argv.includes('-h');
    process.stdout.write(help ? HELP : natsConfFromEnv(process.env));
  } catch (error) {
    process.stderr.write(`${(error as Error).message}\n`);
    process.exitCode = 2;
  }
}
