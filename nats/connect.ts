/** Connects to the broker as one of its users. */
import { createHmac } from 'node:crypto';
import { connect, createInbox, type NatsConnection } from 'nats';
import type { Config } from '../shared/config/index.ts';
import type { ServiceName } from '../shared/service-names.ts';
import { setTimeouts } from './jetstream-manager.ts';

export type NatsUser = ServiceName | 'admin';

/** Returns the password of a NATS user: hex HMAC-SHA256 of its name. NATS_SECRET is enough to make all of them. */
export const natsPassword = (secret: string, user: string): string =>
  createHmac('sha256', secret).update(user).digest('hex');

/** Replies come to subjects of the user's own, which no other service may subscribe to. */
export const inboxPrefix = (user: string): string => `_INBOX_${user}`;

/**
 * Connects as a user. The connection reconnects for ever; with `wait` it also waits for a broker that is not up yet.
 * @throws when NATS_URL is not set or the broker refuses the password
 */
export async function connectNats(
  config: Pick<Config, 'NATS_URL' | 'NATS_SECRET'> & Partial<Pick<Config, 'NATS_PASSWORD' | 'BROKER_TIMEOUT_MS'>>,
  user: NatsUser,
  wait = true,
): Promise<NatsConnection> {
  const { NATS_SECRET: secret, NATS_PASSWORD: own } = config;
  const pass = own ?? (secret ? natsPassword(secret, user) : undefined);
  if (!config.NATS_URL) throw new Error('NATS_URL is not set: say where the broker is, e.g. nats://127.0.0.1:4222');
  const nc = await connect({
    servers: config.NATS_URL.split(','),
    name: `sealwire ${user}`,
    inboxPrefix: inboxPrefix(user),
    maxReconnectAttempts: -1,
    reconnectTimeWait: 200,
    reconnectJitter: 200,
    reconnectJitterTLS: 200,
    waitOnFirstConnect: wait,
    timeout: 5_000,
    pingInterval: 15_000,
    ...(pass ? { user, pass } : {}),
    ...(config.NATS_URL.startsWith('tls://') ? { tls: {} } : {}),
  });
  if (config.BROKER_TIMEOUT_MS) setTimeouts(nc, config.BROKER_TIMEOUT_MS);
  return nc;
}

/** Returns a new reply subject of this connection's user, for many messages; `request()` makes its own. */
export function privateInbox(nc: NatsConnection): string {
  const { options } = nc as unknown as { options: { inboxPrefix?: string } };
  return createInbox(options.inboxPrefix);
}

/** Calls back whenever the connection is lost or restored, for as long as it is open. */
export function watchConnection(
  nc: NatsConnection,
  { onDisconnect, onReconnect }: { onDisconnect?: () => void; onReconnect?: () => void },
): void {
  void (async () => {
    for await (const { type } of nc.status()) {
      if (type === 'disconnect') onDisconnect?.();
      else if (type === 'reconnect') onReconnect?.();
    }
  })();
}
