/** How long the broker is waited for, and JetStream's API with that patience. */
import { type JetStreamManager, jetstreamManager } from '@nats-io/jetstream';
import type { NatsConnection } from 'nats';

interface Patience {
  /** For the acknowledgement of a publish, ms. */
  publishMs: number;
  /** For the answer to a request, ms. */
  requestMs: number;
}
const REQUEST_MS = 5_000;
const DEFAULT: Patience = { publishMs: 10_000, requestMs: REQUEST_MS };
const patience = new WeakMap<NatsConnection, Patience>();

/** Said once for each connection, by what made it. */
export function setPatience(nc: NatsConnection, ms: number): void {
  patience.set(nc, { publishMs: ms, requestMs: Math.min(ms, REQUEST_MS) });
}

export const patienceOf = (nc: NatsConnection): Patience => patience.get(nc) ?? DEFAULT;

/** Asks nothing of the broker by itself. */
export const manage = (nc: NatsConnection): Promise<JetStreamManager> =>
  jetstreamManager(nc, { checkAPI: false, timeout: patienceOf(nc).requestMs });
