/** Counts the sockets of each address and each user, and refuses those over the limits. */
import { addressKey } from '../../../shared/auth/attempt-limits.ts';
import type { Identity } from '../../../shared/auth/tokens.ts';
import type { Config } from '../../../shared/config/index.ts';
import { ApiError } from '../../../shared/contract/errors.ts';

export const tooManyConnections = (message: string): ApiError =>
  new ApiError('rate_limited', message, { retry_after_ms: 10_000 });

export class ConnectionCounts {
  readonly #config: Pick<Config, 'WS_MAX_CONNECTIONS_PER_IP' | 'WS_MAX_CONNECTIONS_PER_USER'>;
  readonly #connected: { has(device_id: string): boolean };
  readonly #byAddress = new Map<string, number>();
  readonly #byUser = new Map<string, number>();

  /** @param connected devices that are connected to this edge, by id */
  constructor(
    config: Pick<Config, 'WS_MAX_CONNECTIONS_PER_IP' | 'WS_MAX_CONNECTIONS_PER_USER'>,
    connected: { has(device_id: string): boolean },
  ) {
    this.#config = config;
    this.#connected = connected;
  }

  /** @throws {ApiError} `rate_limited` */
  checkAddress(ip: string): void {
    if ((this.#byAddress.get(addressKey(ip)) ?? 0) >= this.#config.WS_MAX_CONNECTIONS_PER_IP)
      throw tooManyConnections('too many connections from this address');
  }
  addAddress(ip: string): void {
    addTo(this.#byAddress, addressKey(ip), 1);
  }

  /**
   * Counts a socket of the user. A device that is connected already replaces its own socket, so it may exceed the limit.
   * @throws {ApiError} `rate_limited`
   */
  addUser({ user_id, device_id }: Identity): void {
    const limit = this.#config.WS_MAX_CONNECTIONS_PER_USER * (this.#connected.has(device_id) ? 2 : 1);
    if ((this.#byUser.get(user_id) ?? 0) >= limit)
      throw tooManyConnections('too many devices of this user are connected');
    addTo(this.#byUser, user_id, 1);
  }

  /** Ends the count of a socket. @param identity undefined where none was counted */
  remove(ip: string, identity: Identity | undefined): void {
    addTo(this.#byAddress, addressKey(ip), -1);
    if (identity) addTo(this.#byUser, identity.user_id, -1);
  }
}

function addTo(counts: Map<string, number>, key: string, by: number): void {
  const count = (counts.get(key) ?? 0) + by;
  if (count > 0) counts.set(key, count);
  else counts.delete(key);
}
