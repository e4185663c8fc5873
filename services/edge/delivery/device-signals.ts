/** Publishes what one edge tells the others about a device of a user. `DELIVERED_SIGNAL` goes over the same subject. */
import type { NatsConnection } from 'nats';
import { subject } from '../../../nats/topology.ts';
import type { Config } from '../../../shared/config/index.ts';

/** `replaced`: the device has a newer connection. `away`: an edge made a durable for the device, because it is offline. */
export type DeviceSignal =
  | { t: 'replaced'; device_id: string; connection_id: string }
  | { t: 'away'; device_id: string };

export class DeviceSignals {
  readonly #nc: NatsConnection;
  readonly #shards: number;

  constructor(nc: NatsConnection, { INBOX_SHARDS }: Pick<Config, 'INBOX_SHARDS'>) {
    this.#nc = nc;
    this.#shards = INBOX_SHARDS;
  }

  publish(user_id: string, signal: DeviceSignal): void {
    if (!this.#nc.isClosed()) this.#nc.publish(subject.signal(user_id, this.#shards), JSON.stringify(signal));
  }
}
