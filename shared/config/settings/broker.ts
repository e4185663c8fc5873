import { optional, type Setting, text } from '../kinds.ts';

/** Settings of `npm run nats-conf`, which prints the configuration of a broker of your own. Services don't read them. */
export const BROKER = {
  NATS_SERVER_NAME: optional('Name of the broker, another one for each node of a cluster; sealwire by default.'),
  NATS_LISTEN: text('0.0.0.0:4222', 'Address and port that the broker listens on.'),
  NATS_STORE_DIR: text('/data/jetstream', 'Directory of the streams, as the broker sees it.'),
  NATS_HTTP: optional(
    'Address and port of the monitoring page, e.g. 127.0.0.1:8222. The page asks for no password; there is none by default.',
  ),
  NATS_TLS_CERT: optional('Certificate file of the broker, as it sees it. TLS is on when NATS_TLS_KEY is set too.'),
  NATS_TLS_KEY: optional('Key file of the certificate, as the broker sees it.'),
  NATS_TLS_CA: optional('File of the certificate authority, as the broker sees it.'),
  NATS_CLUSTER_NAME: optional('Name of the cluster; setting it makes the broker one of its nodes.'),
  NATS_CLUSTER_LISTEN: text('0.0.0.0:6222', 'Address and port on which the other nodes reach this one.'),
  NATS_CLUSTER_ROUTES: optional('host:port of the cluster listeners of all nodes, separated by commas.'),
} as const satisfies Record<string, Setting<unknown>>;
