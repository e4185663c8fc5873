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
  cut: Pick<Config, 'PARTITIONS' | 'INBOX_SHARDS'>;
  portsDir?: string;
  pidFile?: string;
  /** `host:port` of the monitoring page, without authentication: keep it on loopback or inside. */
  http?: string;
  tls?: { cert: string; key: string; ca?: string };
}

export function natsConf(conf: BrokerConf): string {
  const q = JSON.stringify;
  const users = Object.entries(permissions(conf.cut)).map(([user, allow]) => {
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
    'max_payload: 8MB',
    'max_pending: 128MB',
    'write_deadline: "10s"',
    'max_connections: 65536',
    'jetstream {',
    `  store_dir: ${q(conf.storeDir)}`,
    '  max_memory_store: 1GB',
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

const HELP = `npm run nats-conf [-- --help]

Prints a nats-server configuration with one user per service (${Object.keys(permissions({ PARTITIONS: 1, INBOX_SHARDS: 1 })).join(', ')}) and only
that service's subjects. The passwords are hex HMAC-SHA256(NATS_SECRET, user); the file holds them, keep it private.

  NATS_SECRET       needed
  DURABILITY        durable (fsync before acknowledging, the default) or fast
  NATS_LISTEN       0.0.0.0:4222
  NATS_STORE_DIR    /data/jetstream
  NATS_HTTP         monitoring, e.g. 127.0.0.1:8222; none unless set
  NATS_TLS_CERT, NATS_TLS_KEY, NATS_TLS_CA   paths as the broker sees them; TLS is off unless set

  NATS_SECRET=… npm run --silent nats-conf > nats.conf && nats-server -c nats.conf
`;

function main(): void {
  if (process.argv.includes('--help') || process.argv.includes('-h')) return void process.stdout.write(HELP);
  const config = readConfig();
  if (!config.NATS_SECRET)
    throw new Error('NATS_SECRET is not set: choose a long random one, e.g. `openssl rand -hex 32`');
  const { NATS_LISTEN, NATS_STORE_DIR, NATS_HTTP, NATS_TLS_CERT, NATS_TLS_KEY, NATS_TLS_CA } = process.env;
  process.stdout.write(
    natsConf({
      name: 'sealwire',
      listen: NATS_LISTEN || '0.0.0.0:4222',
      storeDir: NATS_STORE_DIR || '/data/jetstream',
      secret: config.NATS_SECRET,
      durability: config.DURABILITY,
      cut: config,
      ...(NATS_HTTP ? { http: NATS_HTTP } : {}),
      ...(NATS_TLS_CERT && NATS_TLS_KEY
        ? { tls: { cert: NATS_TLS_CERT, key: NATS_TLS_KEY, ...(NATS_TLS_CA ? { ca: NATS_TLS_CA } : {}) } }
        : {}),
    }),
  );
}

if (import.meta.main) {
  try {
    main();
  } catch (error) {
    process.stderr.write(`${(error as Error).message}\n`);
    process.exitCode = 2;
  }
}
