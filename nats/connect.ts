import { createHmac } from 'node:crypto';
import { connect, createInbox, type NatsConnection } from 'nats';
import type { Config } from '../shared/config/index.ts';
import type { ServiceName } from '../shared/service-names.ts';
import { setTimeouts } from './jetstream-manager.ts';

export type NatsUser = ServiceName | 'admin';

/** The password of a NATS user: hex HMAC-SHA256 of its name. Whoever has the secret can make them all. */
export const natsPassword = (secret: string, user: string): string =>
  createHmac('sha256', secret).update(user).digest('hex');

/** Replies come to a prefix of the user's own, which no other service may read. */
export const inboxPrefix = (user: string): string => `_INBOX_${user}`;

/**
 * A connection as that user. It waits for a broker that is not up yet and reconnects for ever; a refused password
 * rejects.
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

/** A reply subject of this connection's user, for many messages; `request()` makes its own. */
export function privateInbox(nc: NatsConnection): string {
  const { options } = nc as unknown as { options: { inboxPrefix?: string } };
  return createInbox(options.inboxPrefix);
}
