/** Opens the JetStream manager of a connection, with the time-outs that all requests on that connection use. */
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

/** Sets the time-outs of a connection from BROKER_TIMEOUT_MS. connectNats calls it once for each connection. */
export function setTimeouts(nc: NatsConnection, brokerTimeoutMs: number): void {
  timeouts.set(nc, { publishMs: brokerTimeoutMs, requestMs: Math.min(brokerTimeoutMs, REQUEST_MS) });
}

export const timeoutsOf = (nc: NatsConnection): Timeouts => timeouts.get(nc) ?? DEFAULT;

/** Opens a manager. It is cheap: the broker is not asked anything. */
export const jetstreamManager = (nc: NatsConnection): Promise<JetStreamManager> =>
  openManager(nc, { checkAPI: false, timeout: timeoutsOf(nc).requestMs });
