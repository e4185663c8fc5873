/** Renders the configuration of the broker: one user per service, with only that service's subjects. */
import type { Config } from '../shared/config/index.ts';
import { natsPassword } from './connect.ts';
import { permissions } from './permissions.ts';

export interface BrokerConf {
  name: string;
  /** `host:port`; port -1 lets the kernel choose. */
  listen: string;
  storeDir: string;
  secret: string;
  durability: Config['DURABILITY'];
  /** The numbers of partitions and shards: the permissions name each of them. */
  sharding: Pick<Config, 'PARTITIONS' | 'INBOX_SHARDS'>;
  portsDir?: string;
  pidFile?: string;
  /** `host:port` of the monitoring page, which has no authentication: keep it on loopback or inside. */
  http?: string;
  tls?: { cert: string; key: string; ca?: string };
  cluster?: ClusterConf;
  /** Most that the streams on disk may take; by default three quarters of what was free when JetStream was first started. */
  maxFileStore?: string;
}

/** Makes the broker a node of a cluster. Each node has its own `name`; JetStream needs three or five nodes. */
export interface ClusterConf {
  name: string;
  /** `host:port` for the other nodes. */
  listen: string;
  /** `host:port` of the nodes' cluster listeners; its own may be among them. */
  routes: string[];
}

/** Returns the text of the configuration file. It holds the passwords of all users. */
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

/** The nodes authenticate to each other as a user of their own, over TLS where clients use it too. */
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
