/** JetStream's API, and the time-outs that every wait for the broker on a connection has. */
import { type JetStreamManager, jetstreamManager as openManager } from '@nats-io/jetstream';
import type { NatsConnection } from 'nats';

interface Timeouts {
  /** For the acknowledgement of a publish, ms. */
  publishMs: number;
  /** For the answer to a request, ms. */
  requestMs: number;
}
const REQUEST_MS = 5_000;
const DEFAULT: Timeouts = { publishMs: 10_000, requestMs: REQUEST_MS };
const timeouts = new WeakMap<NatsConnection, Timeouts>();

/** connectNats calls it once for each connection; `ms` is BROKER_TIMEOUT_MS. */
export function setTimeouts(nc: NatsConnection, ms: number): void {
  timeouts.set(nc, { publishMs: ms, requestMs: Math.min(ms, REQUEST_MS) });
}

export const timeoutsOf = (nc: NatsConnection): Timeouts => timeouts.get(nc) ?? DEFAULT;

/** Making it asks nothing of the broker. */
export const jetstreamManager = (nc: NatsConnection): Promise<JetStreamManager> =>
  openManager(nc, { checkAPI: false, timeout: timeoutsOf(nc).requestMs });
