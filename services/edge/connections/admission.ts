/**
 * Decides which devices may connect. The upgrade is answered in the turn in which it arrives (an upgrade that is answered later
 * is closed as it opens, once in a thousand: uNetworking/uWebSockets#1929). So `check` refuses by HTTP what can be decided
 * without waiting; `identify` and `loadDevice` look up the rest once the socket is open. Look-ups of one turn are one statement.
 */
import type { Revocations } from '../../../nats/revocations.ts';
import { batchLoader } from '../../../shared/async/batch-loader.ts';
import { type Identity, openTokens, type Tokens } from '../../../shared/auth/tokens.ts';
import type { Config } from '../../../shared/config/index.ts';
import { ApiError } from '../../../shared/contract/errors.ts';
import { SUBPROTOCOL } from '../../../shared/contract/protocol.ts';
import type { Database } from '../../../shared/db/database.ts';
import type { DeviceCursor } from '../delivery/cursor-writer.ts';
import { type ConnectionCounts, tooManyConnections } from './connection-counts.ts';
import { type DeviceStatus, loadDeviceStatuses } from './device-status.ts';

/** The part of an upgrade request that matters here. */
interface UpgradeRequest {
  ip: string;
  authorization: string;
  protocols: string[];
  query: URLSearchParams;
}
/** The credentials of a socket: an identity that is verified and counted, or a token or ticket that only Postgres can judge. */
export type Credentials = { identity: Identity } | { token: string } | { ticket: string };

const TICKET_PREFIX = 'ticket.';

interface AdmissionOptions {
  db: Database;
  config: Config;
  revocations: Revocations;
  connectionCounts: ConnectionCounts;
}

export class Admission {
  readonly #config: Config;
  readonly #tokens: Tokens;
  readonly #revocations: Revocations;
  readonly #counts: ConnectionCounts;
  readonly #takeTicket: (ticket: string) => Promise<Identity | undefined>;
  readonly #loadStatus: (identity: Identity) => Promise<DeviceStatus>;

  constructor({ db, config, revocations, connectionCounts }: AdmissionOptions) {
    this.#config = config;
    this.#counts = connectionCounts;
    this.#tokens = openTokens(db, config);
    this.#revocations = revocations;
    this.#takeTicket = batchLoader((tickets: string[]) => this.#tokens.takeTickets(tickets));
    this.#loadStatus = batchLoader((identities: Identity[]) => loadDeviceStatuses(db, identities));
  }

  /**
   * Checks an upgrade request without waiting. A socket that passes is counted until `ConnectionCounts.remove`.
   * @throws {ApiError} why it is refused
   */
  check(request: UpgradeRequest): Credentials {
    if (request.protocols.length && !request.protocols.includes(SUBPROTOCOL))
      throw new ApiError('invalid_request', `offer the subprotocol ${SUBPROTOCOL}`);
    this.#counts.checkAddress(request.ip);
    const credentials = this.#readCredentials(request);
    if ('identity' in credentials) {
      this.#revocations.assertActive(credentials.identity.session_id);
      this.#counts.addUser(credentials.identity);
    }
    this.#counts.addAddress(request.ip);
    return credentials;
  }

  /** Finds the identity behind credentials, after the upgrade. @throws {ApiError} why there is none */
  async identify(credentials: Credentials): Promise<Identity> {
    if ('identity' in credentials) return credentials.identity;
    if ('token' in credentials) return await this.#tokens.verify(credentials.token);
    const identity = await this.#takeTicket(credentials.ticket);
    if (!identity) throw new ApiError('unauthenticated', 'the ticket is unknown, used or expired');
    return identity;
  }

  /**
   * Checks that device and session still exist.
   * @returns how far the device has got; undefined for one that has no cursor yet
   * @throws {ApiError} why it may not connect
   */
  async loadDevice(identity: Identity): Promise<DeviceCursor | undefined> {
    const { isValid, others, cursor, since } = await this.#loadStatus(identity);
    // Asked again, since the session may have ended between the look-up and now.
    if (!isValid || this.#revocations.has(identity.session_id))
      throw new ApiError('unauthenticated', 'this session or device was revoked');
    if (others >= this.#config.WS_MAX_CONNECTIONS_PER_USER)
      throw tooManyConnections('too many devices of this user are connected');
    return cursor === null ? undefined : { cursor, completeUntilMs: since!.getTime() };
  }

  #readCredentials({ authorization, protocols, query }: UpgradeRequest): Credentials {
    const [scheme, bearer] = authorization.split(' ');
    if (authorization) {
      if (scheme?.toLowerCase() !== 'bearer' || !bearer)
        throw new ApiError('unauthenticated', 'Authorization must be `Bearer <access token>`');
      return this.#verifyNow(bearer);
    }
    const offered = protocols.find((protocol) => protocol.startsWith(TICKET_PREFIX))?.slice(TICKET_PREFIX.length);
    const ticket = offered ?? query.get('ticket');
    if (ticket) return { ticket };
    const token = query.get('access_token') ?? query.get('token');
    if (!token) throw new ApiError('unauthenticated', 'an access token or a ticket is missing');
    if (!this.#config.WS_ALLOW_QUERY_TOKEN)
      throw new ApiError('unauthenticated', 'an access token in the query is not accepted; use a ticket');
    return this.#verifyNow(token);
  }

  #verifyNow(token: string): Credentials {
    const identity = this.#tokens.verifyNow(token);
    return identity ? { identity } : { token };
  }
}
