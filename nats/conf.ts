/**
 * The broker's configuration, from the same table as everything else: one user per service with only its own
 * subjects. `npm run nats-conf` prints one for a broker of your own.
 */
import { type Config, readConfig } from '../shared/config/index.ts';
import { natsPassword } from './connect.ts';
import { permissions } from './permissions.ts';

export interface BrokerConf {
  name: string;
  /** `host:port`; port -1 lets the kernel choose. */
  listen: string;
  storeDir: string;
  secret: string;
  durability: Config['DURABILITY'];
  /** How many partitions and shards there are: their names stand in the permissions. */
  sharding: Pick<Config, 'PARTITIONS' | 'INBOX_SHARDS'>;
  portsDir?: string;
  pidFile?: string;
  /** `host:port` of the monitoring page, without authentication: keep it on loopback or inside. */
  http?: string;
  tls?: { cert: string; key: string; ca?: string };
  cluster?: ClusterConf;
  /** How much the streams on disk may take; without it three quarters of what was free when JetStream was first started. */
  maxFileStore?: string;
}

/** One of the nodes of a cluster; each has its own `name`, and for JetStream there should be three or five. */
export interface ClusterConf {
  name: string;
  /** `host:port` for the other nodes. */
  listen: string;
  /** `host:port` of the nodes' cluster listeners; this one's own may be among them. */
  routes: string[];
}

export function renderNatsConf(conf: BrokerConf): string {
  const q = JSON.stringify;
  const users = Object.entries(permissions(conf.sharding)).map(([user, allow]) => {
    const password = q(natsPassword(conf.secret, user));
    return `      { user: ${user}, password: ${password}, permissions: { publish: { allow: ${q(allow.publish)} }, subscribe: { allow: ${q(allow.subscribe)} } } }`;
  });
  const lines = [
    `# Generated from nats/topology.ts. Profile: ${conf.durability}.`,
    `server_name: ${q(conf.name)}`,
    `listen: ${q(conf.listen)}`,
    conf.http && `http: ${q(conf.http)}`,
    conf.portsDir && `ports_file_dir: ${q(conf.portsDir)}`,
    conf.pidFile && `pid_file: ${q(conf.pidFile)}`,
    conf.tls &&
      `tls { cert_file: ${q(conf.tls.cert)}, key_file: ${q(conf.tls.key)}${conf.tls.ca ? `, ca_file: ${q(conf.tls.ca)}` : ''} }`,
    ...(conf.cluster ? clusterLines(conf.cluster, conf) : []),
    'max_payload: 8MB',
    'max_pending: 128MB',
    'write_deadline: "10s"',
    'max_connections: 65536',
    'jetstream {',
    `  store_dir: ${q(conf.storeDir)}`,
    '  max_memory_store: 1GB',
    conf.maxFileStore && `  max_file_store: ${conf.maxFileStore}`,
    // "always" is an fsync before each acknowledgement; otherwise only a power cut can lose what was acknowledged.
    `  sync_interval: ${conf.durability === 'durable' ? '"always"' : '"2m"'}`,
    '}',
    'accounts {',
    '  SEALWIRE {',
    '    jetstream: enabled',
    '    users: [',
    ...users,
    '    ]',
    '  }',
    `  SYS { users: [ { user: sys, password: ${q(natsPassword(conf.secret, 'sys'))} } ] }`,
    '}',
    'system_account: SYS',
  ];
  return `${lines.filter((line) => line !== undefined).join('\n')}\n`;
}

/** The nodes know each other by a user of their own, over TLS where clients use it too. */
function clusterLines({ name, listen, routes }: ClusterConf, { secret, tls }: BrokerConf): string[] {
  const q = JSON.stringify;
  const password = natsPassword(secret, 'route');
  const to = routes.map((route) => q(`nats-route://route:${password}@${route}`));
  return [
    'cluster {',
    `  name: ${q(name)}`,
    `  listen: ${q(listen)}`,
    `  authorization { user: route, password: ${q(password)}, timeout: 5 }`,
    ...(tls
      ? [`  tls { cert_file: ${q(tls.cert)}, key_file: ${q(tls.key)}${tls.ca ? `, ca_file: ${q(tls.ca)}` : ''} }`]
      : []),
    '  routes: [',
    ...to.map((route) => `    ${route}`),
    '  ]',
    '}',
  ];
}

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

/** @throws when a node of a cluster is not told its name or the others. */
function clusterOf(env: NodeJS.ProcessEnv): ClusterConf | undefined {
  const { NATS_CLUSTER_NAME, NATS_CLUSTER_LISTEN, NATS_CLUSTER_ROUTES, NATS_SERVER_NAME } = env;
  if (!NATS_CLUSTER_NAME) {
    if (NATS_CLUSTER_ROUTES) throw new Error('NATS_CLUSTER_ROUTES is set, NATS_CLUSTER_NAME is not: set both');
    return undefined;
  }
  if (!NATS_SERVER_NAME) throw new Error('NATS_SERVER_NAME is not set: each node of a cluster needs a name of its own');
  const routes = (NATS_CLUSTER_ROUTES ?? '').split(',').filter(Boolean);
  const wrong = routes.find((route) => !/^[^\s:/@]+:\d+$|^\[[\da-f:]+\]:\d+$/i.test(route));
  if (!routes.length || wrong)
    throw new Error(
      `NATS_CLUSTER_ROUTES must be host:port of every node, with commas between, e.g. nats-1:6222,nats-2:6222${wrong ? `; ${wrong} is not` : ''}`,
    );
  return { name: NATS_CLUSTER_NAME, listen: NATS_CLUSTER_LISTEN || '0.0.0.0:6222', routes };
}

/** The configuration that an environment asks for, see HELP. @throws with the variable that is missing or wrong */
export function natsConfFromEnv(env: NodeJS.ProcessEnv): string {
  const config = readConfig(env);
  if (!config.NATS_SECRET)
    throw new Error('NATS_SECRET is not set: choose a long random one, e.g. `openssl rand -hex 32`');
  const { NATS_LISTEN, NATS_STORE_DIR, NATS_HTTP, NATS_TLS_CERT, NATS_TLS_KEY, NATS_TLS_CA } = env;
  const { NATS_SERVER_NAME } = env;
  const cluster = clusterOf(env);
  return renderNatsConf({
    name: NATS_SERVER_NAME || 'sealwire',
    listen: NATS_LISTEN || '0.0.0.0:4222',
    storeDir: NATS_STORE_DIR || '/data/jetstream',
    secret: config.NATS_SECRET,
    durability: config.DURABILITY,
    sharding: config,
    ...(cluster ? { cluster } : {}),
    ...(config.NATS_MAX_FILE_STORE ? { maxFileStore: config.NATS_MAX_FILE_STORE } : {}),
    ...(NATS_HTTP ? { http: NATS_HTTP } : {}),
    ...(NATS_TLS_CERT && NATS_TLS_KEY
      ? { tls: { cert: NATS_TLS_CERT, key: NATS_TLS_KEY, ...(NATS_TLS_CA ? { ca: NATS_TLS_CA } : {}) } }
      : {}),
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
