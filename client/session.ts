/** Holds the tokens of a signed-in device, refreshes them, and makes HTTP calls with them. */
import { singleFlight } from '../shared/async/single-flight.ts';
import type { Device, User } from '../shared/contract/objects.ts';
import { isAuthError, SealwireError } from './errors.ts';
import { requestApi } from './http.ts';

/** The state that an application saves so that the device stays signed in after a restart. It contains secrets. */
export interface SessionData {
  /** Base URL of the HTTP API, e.g. `http://127.0.0.1:8080`. */
  api: string;
  user: Pick<User, 'id'> & Partial<User>;
  device: Pick<Device, 'id'> & Partial<Device>;
  access_token: string;
  refresh_token?: string;
  /** End of the access token, ms since 1970. Without it the token is used until the server refuses it. */
  expires_at?: number;
}

/** The reply of the API to a successful registration, log-in or verification. */
export interface TokenResponse {
  user: User;
  device: Device;
  access_token: string;
  refresh_token: string;
  expires_in_sec: number;
}

/** A token is refreshed this long before its end, so that it does not expire while a request is on its way. */
const REFRESH_EARLY_MS = 30_000;

/** Makes a Session from the API's reply to a log-in. */
export function createSession(api: string, { expires_in_sec, ...rest }: TokenResponse): Session {
  return new Session({ api, ...rest, expires_at: Date.now() + expires_in_sec * 1000 });
}

export class Session implements SessionData {
  readonly api: string;
  user: SessionData['user'];
  device: SessionData['device'];
  access_token: string;
  refresh_token?: string;
  expires_at?: number;
  /** Called with the new tokens after each refresh, before they are used. An application saves them here. */
  onchange?: (data: SessionData) => unknown;
  readonly #rotateOnce = singleFlight(() => this.#rotate());

  constructor(data: SessionData) {
    this.api = data.api.replace(/\/+$/, '');
    this.user = data.user;
    this.device = data.device;
    this.access_token = data.access_token;
    if (data.refresh_token !== undefined) this.refresh_token = data.refresh_token;
    if (data.expires_at !== undefined) this.expires_at = data.expires_at;
  }

  /**
   * Returns an access token that is still valid, refreshing it first if it is about to expire.
   * @throws SealwireError `signed_out` when the session has ended
   */
  async token(): Promise<string> {
    if (this.expires_at !== undefined && this.refresh_token && Date.now() > this.expires_at - REFRESH_EARLY_MS)
      await this.refresh();
    return this.access_token;
  }

  /**
   * Makes one HTTP call with the access token. If the server refuses the token, it is refreshed once and the call repeated.
   * @returns `data` of the reply
   * @throws SealwireError
   */
  async call<T>(method: string, path: string, body?: unknown, headers: Record<string, string> = {}): Promise<T> {
    const token = await this.token();
    const send = (bearer: string): Promise<T> =>
      requestApi<T>(this.api, method, path, body, { ...headers, authorization: `Bearer ${bearer}` });
    try {
      return await send(token);
    } catch (error) {
      if (!isAuthError(error) || !this.refresh_token) throw error;
      if (this.access_token === token) await this.refresh();
      return send(this.access_token);
    }
  }

  /** Rotates the tokens. Simultaneous calls share one rotation, because a refresh token used twice revokes the session. */
  refresh(): Promise<void> {
    return this.#rotateOnce();
  }

  async #rotate(): Promise<void> {
    if (!this.refresh_token)
      throw new SealwireError(
        'signed_out',
        'the server refused the access token and there is no refresh token; log in again',
      );
    try {
      const granted = await requestApi<Omit<TokenResponse, 'user' | 'device'>>(this.api, 'POST', '/v1/auth/refresh', {
        refresh_token: this.refresh_token,
      });
      this.access_token = granted.access_token;
      this.refresh_token = granted.refresh_token;
      this.expires_at = Date.now() + granted.expires_in_sec * 1000;
    } catch (error) {
      if (!isAuthError(error)) throw error;
      throw new SealwireError('signed_out', 'the session has ended; log in again', { cause: error });
    }
    await this.onchange?.(this.toJSON());
  }

  toJSON(): SessionData {
    const { api, user, device, access_token, refresh_token, expires_at } = this;
    return {
      api,
      user,
      device,
      access_token,
      ...(refresh_token === undefined ? {} : { refresh_token }),
      ...(expires_at === undefined ? {} : { expires_at }),
    };
  }
}
